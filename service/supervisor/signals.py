"""Signals as bytes in a pipe, so that a loop can wait for them without threads and without missing one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""The signals that a supervisor acts on; its children start with the defaults."""


def describe(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


@contextlib.contextmanager
def open_inbox() -> Iterator[int]:
    """A pipe in which each watched signal appears as a byte: nothing is missed between looking and waiting."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    taken = [number for number in WATCHED if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    handlers = {number: signal.signal(number, _ignore) for number in taken}
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The byte in the inbox is all that a signal does."""


def receive(inbox: int, seconds: float) -> set[int]:
    """Signals that have arrived, waiting for the first at most so long."""
    readable, _, _ = select.select([inbox], [], [], max(seconds, 0.0))
    return set(os.read(inbox, 512)) if readable else set()
