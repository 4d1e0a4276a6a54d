"""Who works with the historical store: many may read it, and while they do nobody puts another in its place."""

from __future__ import annotations

import contextlib
import fcntl
from typing import IO, TYPE_CHECKING

from features import archive, history, several, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from features.home import Home

FILE = "history.lock"
MUCH = 4 << 20
"""Bytes of an archive from which on other processes help."""
WAITING = "another process works with the history of this home: waiting for it"


@contextlib.contextmanager
def hold(home: Home, renew: Callable[[], object], tell: Callable[[str], None] = lambda _text: None) -> Iterator[None]:
    """For the duration, a historical store with all that the archive held at the start, which nobody else replaces.

    `renew` rebuilds one that lacks something; `tell` is told once if that has to wait for who reads it.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    with (home.root / FILE).open("a") as file:
        _lock(file, fcntl.LOCK_SH, tell)
        if not history.is_current(home):
            _lock(file, fcntl.LOCK_EX, tell)  # not in one step: it may have been renewed between
            if not history.is_current(home):
                renew()
            _lock(file, fcntl.LOCK_SH, tell)
        yield


def renew(home: Home, progress: Callable[[int, int], None] = lambda _done, _all: None) -> None:
    """Rebuild the historical store, on the processors of this machine where that pays."""
    with spread(home) as pool:
        shards.rebuild(home, pool, progress)


@contextlib.contextmanager
def spread(home: Home) -> Iterator[Executor]:
    """This process, and others where the archive is large enough for that to pay."""
    size = sum(file.size for file in archive.files(home.archive))
    with several.spread(size > MUCH) as pool:
        yield pool


def _lock(file: IO[str], kind: int, tell: Callable[[str], None]) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        tell(WAITING)
        fcntl.flock(file, kind)
