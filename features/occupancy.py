"""Who works in a home folder: its lock, its layout's version, and the file that describes a running `kairos up`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

import msgspec

from features.home import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.home import Home

ORPHANS_PATIENCE = 10.0
"""Seconds that the parts of a killed process get to disappear."""


class UnavailableError(ValueError):
    """Something that a command needs cannot be had; the message says what to do about it."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the parts of a running `kairos up`."""

    pid: int
    redis_url: str
    api_url: str
    version: int = 1


@contextlib.contextmanager
def occupy(home: Home, patience: float = ORPHANS_PATIENCE) -> Iterator[int]:
    """Hold the home alone; yields its lock. UnavailableError for a home in use, of a newer version, or read-only.

    Children that inherit the lock's descriptor hold the home too: it becomes free when the last of them has ended.
    """
    require_version(home)
    try:
        home.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UnavailableError(
            f"cannot write to the home {home.root}: {error.strerror}; choose another with --home"
        ) from error
    try:
        _lock(home, descriptor, patience)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        require_version(home)  # whoever held the lock until now may have raised it
        if not home.version_file.exists():
            home.version_file.write_text(f"{VERSION}\n")
        yield descriptor
    finally:
        os.close(descriptor)


def require_version(home: Home) -> None:
    """UnavailableError when the home's layout is newer than this program; a home without a version is a new one."""
    try:
        text = home.version_file.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not text.isdecimal():
        raise UnavailableError(
            f"{home.version_file} says {text!r} where a number belongs: is {home.root} a Kairos home?"
        )
    if int(text) > VERSION:
        raise UnavailableError(
            f"the home {home.root} has version {text}, and this Kairos knows versions up to {VERSION}: "
            "use a newer Kairos, or another home with --home"
        )


def read_run(home: Home) -> Run | None:
    """The running `kairos up` of this home, None without one; the file of a killed one does not count."""
    try:
        run = msgspec.json.decode(home.run_file.read_bytes(), type=Run)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    return run if is_alive(run.pid) else None


@contextlib.contextmanager
def announce(home: Home, run: Run) -> Iterator[None]:
    """Keep the run file for the duration; readable by its owner only, as it holds Redis' password."""
    temporary = home.run_file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(run))
    temporary.replace(home.run_file)
    try:
        yield
    finally:
        home.run_file.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, and belongs to someone else
        return True
    return True


def _lock(home: Home, descriptor: int, patience: float) -> None:
    """Waits only for the orphans of a killed holder: a living one is reported at once."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode().strip()
        if holder.isdecimal() and is_alive(int(holder)):
            raise UnavailableError(
                f"the home {home.root} is in use by process {holder}: stop it first, or choose another home with --home"
            )
        if time.monotonic() >= deadline:
            raise UnavailableError(
                f"the home {home.root} is still held by what the killed process {holder or 'unknown'} "
                f"had started: end the processes that have {home.lock_file} open"
            )
        time.sleep(0.05)
