"""Decisions made while Redis is away, kept on disk until it is back: one bounded file a process, which it holds locked.

What a dead process left is appended by any that lives. Appending twice is harmless: the message ids deduplicate.
"""

from __future__ import annotations

import fcntl
import logging
import uuid
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from features import stream
from service import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

BATCH_BYTES = 2_000_000


class Spill:
    """One process's file, and the way of everything in the folder back to the streams."""

    def __init__(self, folder: Path, most: int) -> None:
        """At most `most` events are kept at a time."""
        self._folder, self._most = folder, most
        self._own = folder / f"{uuid.uuid4().hex}.jsonl"
        self._file: BinaryIO | None = None
        self._kept = 0

    def keep(self, payload: bytes) -> None:
        """Write an event to disk; beyond the bound, or on a full disk, it is counted and lost."""
        if self._kept >= self._most:
            metrics.SPILLED.labels("lost").inc()
            return
        try:
            self._open().write(payload + b"\n")
        except OSError as error:
            log.error("a decision is lost, the spill file cannot be written: %s", error)
            metrics.SPILLED.labels("lost").inc()
            return
        self._kept += 1
        metrics.SPILLED.labels("kept").inc()

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            unlocked = self._own.with_suffix(".new")
            self._file = unlocked.open("ab", buffering=0)  # what is written is with the system, if we are killed
            _lock(self._file)
            unlocked.rename(self._own)  # only now may others find it
        return self._file

    def waiting(self) -> bool:
        """Whether there may be something to append."""
        return self._kept > 0 or next(self._others(), None) is not None

    async def drain(self, append: Callable[[list[bytes]], Awaitable[None]]) -> None:
        """Hand all lines to `append`, in batches. When it raises, everything stays for the next time."""
        if self._kept and self._file is not None:
            with self._own.open("rb") as lines:
                await _hand_over(lines, append)
            self._file.truncate(0)
            self._kept = 0
        for path in self._others():
            with path.open("rb") as lines:
                if _lock(lines):
                    await _hand_over(lines, append)
                    path.unlink(missing_ok=True)

    def _others(self) -> Iterator[Path]:
        return (path for path in self._folder.glob("*.jsonl") if path != self._own)

    def close(self) -> None:
        """Let others have what is left."""
        if self._file is not None:
            if not self._kept:
                self._own.unlink(missing_ok=True)
            self._file.close()


async def _hand_over(lines: BinaryIO, append: Callable[[list[bytes]], Awaitable[None]]) -> None:
    while batch := lines.readlines(BATCH_BYTES):
        await append(batch)
        metrics.SPILLED.labels("appended").inc(len(batch))


def _lock(file: BinaryIO) -> bool:
    """Whether no living process holds the file; it is ours then, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Spilled(msgspec.Struct, frozen=True, rename="camel"):
    """What must be known of a spilled event to append it."""

    type: str
    message_id: str
    customer: str


def sort(lines: Iterable[bytes], partitions: int) -> dict[int, list[stream.Message]]:
    """By partition, what is to be appended of lines that were spilled."""
    sorted_: dict[int, list[stream.Message]] = {}
    for line in lines:
        try:
            spilled = msgspec.json.decode(line, type=_Spilled)
        except msgspec.MsgspecError as error:  # the last line of a process that was killed while writing it
            log.warning("a spilled decision cannot be read: %s", error)
            continue
        place = stream.partition_of(spilled.customer, partitions)
        changed = "" if spilled.type == "decision" else spilled.customer
        message = stream.Message(spilled.message_id, line.rstrip(b"\n"), changed)
        sorted_.setdefault(place, []).append(message)
    return sorted_
