"""Workers merge the archive's files beside their work: one of them at a time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from redis import Redis

from features import archive
from features.events.schema import Page
from features.leases import Lease
from service import compaction

if TYPE_CHECKING:
    from features.settings import Settings


def fill(settings: Settings) -> None:
    for at in (1, 2, 3):
        entry = archive.entry(at, Page(message_id=str(at), customer="ann", time=at, received=at))
        archive.write(settings.home.archive, "0", archive.tabulate(0, [entry]))


def test_the_one_with_the_lease_merges(settings: Settings, redis_url: str) -> None:
    fill(settings)
    with Redis.from_url(redis_url) as redis:
        other = Lease(redis, compaction.LEASE, "other")
        assert other.hold()
        mine = Lease(redis, compaction.LEASE, "mine")
        compaction.merge(settings, mine, threading.Event())
        assert len(archive.files(settings.home.archive)) == 3
        other.release()
        compaction.merge(settings, mine, threading.Event())
        assert len(archive.files(settings.home.archive)) == 1
        assert other.hold()


def test_one_that_is_to_stop_begins_nothing(settings: Settings, redis_url: str) -> None:
    fill(settings)
    over = threading.Event()
    over.set()
    with Redis.from_url(redis_url) as redis:
        compaction.merge(settings, Lease(redis, compaction.LEASE, "mine"), over)
    assert len(archive.files(settings.home.archive)) == 3
    with compaction.beside(settings, redis_url):
        pass
