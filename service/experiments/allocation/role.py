"""The role that one worker has at a time: it looks which experiments' weights are due, and has a process of its own
move them, so that no event waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from redis import RedisError

from features import tether
from features.connection import connect
from features.documents import DocumentError
from features.leases import Lease
from service import roles
from service.catalog import versions
from service.catalog.windows import moment
from service.experiments.allocation.times import noted
from service.files import stamp

if TYPE_CHECKING:
    import threading
    from contextlib import AbstractContextManager

    from features.home import Home
    from features.settings import Settings
    from service.catalog.experiments import Experiment
    from service.catalog.schema import Catalog

log = logging.getLogger(__name__)

LEASE = "kairos:{allocation}:lease"
ROUND_SECONDS = 1.0
EVERY = 3600 * 1_000_000
"""Microseconds from one move to the next, where the catalog does not say."""
MOVES_A_TIME = 500
"""No experiment moves sooner than after such a part of its time so far: the moves stay few, however long it runs."""
MOST_SECONDS = 600.0
PATIENCE_SECONDS = 60.0
"""After a failure."""
END_SECONDS = 5.0


def beside(settings: Settings, redis_url: str) -> AbstractContextManager[None]:
    """Move what is due, for the duration; what is under way at the end is given up, and made anew by the next."""
    return roles.beside(_move_until, settings, redis_url, patience=END_SECONDS)


def _move_until(over: threading.Event, settings: Settings, redis_url: str) -> None:
    with connect(redis_url) as redis:
        lease = Lease(redis, LEASE, f"allocation-{uuid.uuid4()}")
        role = Role(settings, lease)
        while not over.wait(ROUND_SECONDS):
            try:
                role.look(over)
            except (RedisError, OSError) as error:
                log.warning("weights were not moved, again in %g s: %s", PATIENCE_SECONDS, error)
                over.wait(PATIENCE_SECONDS)
        with contextlib.suppress(RedisError, OSError):
            lease.release()


class Role:
    """Follows the catalog; holds the lease only while there is anything to move."""

    def __init__(self, settings: Settings, lease: Lease) -> None:
        self._settings, self._lease = settings, lease
        self._stamp = ""
        self._catalog: Catalog | None = None

    def look(self, over: threading.Event) -> None:
        """Move what is due now, if the role is to be had. Raises RedisError or OSError."""
        moving = self._moving()
        if not moving or not self._lease.keep():
            return
        now = time.time_ns() // 1000
        if names := due(self._settings.home, self._catalog, moving, now):
            _run(self._settings.home, names, over, self._lease)

    def _moving(self) -> list[Experiment]:
        home = self._settings.home
        if (found := stamp(home.catalog)) != self._stamp:
            self._stamp = found
            with contextlib.suppress(DocumentError):  # the API tells; what was live before stays
                self._catalog = versions.read(home)[0]
        experiments = () if self._catalog is None else self._catalog.experiments
        return [one for one in experiments if one.status == "running" and one.allocation.kind == "thompson"]


def due(home: Home, catalog: Catalog | None, moving: list[Experiment], now: int) -> list[str]:
    """Which of the experiments are to be looked at: their time is come, and it is long enough since the last."""
    zone = ZoneInfo("UTC" if catalog is None else catalog.time_zone)
    last = noted(home)
    found = []
    for one in moving:
        if not moment(one.starts, zone, ends=False) <= now < moment(one.ends, zone, ends=True):
            continue
        every = EVERY if one.allocation.every is None else int(one.allocation.every.total_seconds() * 1e6)
        so_far = now - one.moves[0].since if one.moves else 0
        if now - last.get(one.id, 0) >= max(every, so_far // MOVES_A_TIME):
            found.append(one.id)
    return found


def _run(home: Home, names: list[str], over: threading.Event, lease: Lease) -> None:
    """Have a process move weights; it ends with this one, and when the lease is lost. Raises OSError if it fails."""
    program = tether.command([sys.executable, "-m", "service.experiments.allocation.child", str(home.root), *names])
    ends = time.monotonic() + MOST_SECONDS
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own program
        while process.poll() is None:
            if over.wait(0.1) or not lease.keep() or time.monotonic() > ends:
                process.kill()
                return
        said = "" if process.stderr is None else process.stderr.read()
    if process.returncode:
        raise OSError(said.strip()[-500:] or f"the process ended with {process.returncode}")
