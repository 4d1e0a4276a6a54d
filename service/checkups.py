"""Keeping what is known of the models' health fresh, beside the worker: one at a time has a process find it out.

That is `kairos models health`, as a user runs it, at a low priority; it may be refused, as where little was seen yet.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING

import msgspec
from redis import RedisError

from features import tether
from features.connection import connect
from features.leases import Lease
from models.bundle import CHAMPION, BundleError, read_aliases
from service import roles
from service.metrics import DIRECTORY

if TYPE_CHECKING:
    import threading
    from contextlib import AbstractContextManager

    from features.home import Home
    from features.settings import Settings

log = logging.getLogger(__name__)

LEASE = "kairos:{health}:lease"
ROUND_SECONDS = 1.0
FIRST_SECONDS = 600.0
"""After the start, until then other things are more urgent."""
MOST_SECONDS = 3600.0
SPARE = 20.0
"""How many times as long as the last look took comes between it and the next, at least: of a large archive fewer."""
PRIORITY = 10
END_SECONDS = 5.0


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """The last look at a model."""

    ended: float
    """Of `time.time()`."""
    seconds: float
    said: str = ""
    """Why there is no result; it is told when that changes."""


def beside(settings: Settings, redis_url: str) -> AbstractContextManager[None]:
    """Look at what is due, for the duration; a look under way at the end is given up."""
    if settings.health_seconds <= 0.0:
        return contextlib.nullcontext()
    return roles.beside(_look_until, settings, redis_url, patience=END_SECONDS)


def _look_until(over: threading.Event, settings: Settings, redis_url: str) -> None:
    looked: dict[str, Looked] = {}
    started = time.time()
    with connect(redis_url) as redis:
        lease = Lease(redis, LEASE, f"health-{uuid.uuid4()}")
        while not over.wait(ROUND_SECONDS):
            try:
                for name in champions(settings.home):
                    if time.time() >= due(settings.home, name, settings.health_seconds, started, looked.get(name)):
                        look(settings.home, name, lease, over, looked)
            except (RedisError, OSError) as error:
                log.warning("models were not looked at, again in %g s: %s", FIRST_SECONDS, error)
                over.wait(FIRST_SECONDS)


def champions(home: Home) -> list[str]:
    """The models of which a version serves; none of those whose aliases cannot be read, as the API tells."""
    found = []
    for folder in sorted(home.bundles.glob("*/")):
        with contextlib.suppress(BundleError):
            if CHAMPION in read_aliases(home.bundles, folder.name):
                found.append(folder.name)
    return found


def due(home: Home, name: str, every: float, started: float, looked: Looked | None) -> float:
    """When (of `time.time()`) the model is to be looked at next; somebody else may have looked meanwhile."""
    soonest = max(started + min(FIRST_SECONDS, every), _last(home, name) + every)
    return soonest if looked is None else max(soonest, looked.ended + max(every, SPARE * looked.seconds))


def look(home: Home, name: str, lease: Lease, over: threading.Event, looked: dict[str, Looked]) -> None:
    """Have a process look at the model, if the role is to be had, and note that. Raises RedisError or OSError."""
    if not lease.hold():
        return
    began = time.time()
    try:
        said = _run(home, name, lease, over)
    finally:
        lease.release()
    if over.is_set() or _last(home, name) >= began:
        said = ""
    if said and (name not in looked or looked[name].said != said):
        log.warning("the health of %s cannot be told: %s", name, said)
    ended = time.time()
    looked[name] = Looked(ended=ended, seconds=ended - began, said=said)


def _last(home: Home, name: str) -> float:
    """When (of `time.time()`) a result was last found, whoever looked; 0.0: never."""
    try:
        return (home.health / f"{name}.prom").stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _run(home: Home, name: str, lease: Lease, over: threading.Event) -> str:
    """The last that it said of what went wrong; it ends with this process, and when the lease is lost."""
    program = [sys.executable, "-m", "kairos", "models", "health", "--name", name, "--home", str(home.root)]
    environment = {key: value for key, value in os.environ.items() if key != DIRECTORY}  # it counts for itself
    ends = time.monotonic() + MOST_SECONDS
    with subprocess.Popen(  # noqa: S603  # our own program
        tether.command(program), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, PRIORITY)
        while process.poll() is None:
            if over.wait(0.1) or not lease.keep() or time.monotonic() > ends:
                process.kill()
                return "the look was broken off"
        return "" if process.stderr is None else process.stderr.read().strip()[-500:]
