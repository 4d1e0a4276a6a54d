"""Merging the archive's files beside the worker: one worker at a time, under a lease."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

import pyarrow as pa
from redis import RedisError

from features import archive
from features.connection import connect
from features.leases import Lease
from service import roles

if TYPE_CHECKING:
    import threading
    from contextlib import AbstractContextManager

    from features.settings import Settings

log = logging.getLogger(__name__)

LEASE = "kairos:{archive}:lease"
ROUND_SECONDS = 60.0
PATIENCE_SECONDS = 10.0
"""For the merge of one group of files at the end; what it has begun by then is left for the next."""


def beside(settings: Settings, redis_url: str) -> AbstractContextManager[None]:
    """Merge what is due every minute, for the duration."""
    return roles.beside(_merge_until, settings, redis_url, patience=PATIENCE_SECONDS)


def _merge_until(over: threading.Event, settings: Settings, redis_url: str) -> None:
    with connect(redis_url) as redis:
        lease = Lease(redis, LEASE, f"archive-{uuid.uuid4()}")
        while not over.wait(ROUND_SECONDS):
            try:
                merge(settings, lease, over)
            except (RedisError, OSError, archive.ArchiveError, pa.ArrowException) as error:
                log.warning("the archive's files were not merged, again in %g s: %s", ROUND_SECONDS, error)


def merge(settings: Settings, lease: Lease, over: threading.Event) -> None:
    """Merge what is due now, if the lease is to be had."""
    if not lease.hold():
        return
    try:
        now = int(time.time() * 1e6)
        done = archive.compact(settings.home.archive, now, lambda: not over.is_set() and lease.keep())
    finally:
        lease.release()
    if done.before:
        log.info("merged %d files of the archive into %d", done.before, done.after)
