"""Dead letters sent again: through the same normalisation, as of when they came. What is refused again stays, once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from features import dead_letters, stream
from features.events.schema import decode
from service.events.normalise import RejectedError, admit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from features.dead_letters import Letter
    from service.catalog.compiled import Compiled

CHUNK = 100

Entry = tuple[str, "Letter"]
"""A letter under its id."""


class Resent(msgspec.Struct):
    """What became of letters."""

    accepted: int = 0
    duplicates: int = 0
    """Had come again by themselves."""
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    """By what is wrong now."""


def resend(
    redis: Redis, entries: Sequence[Entry], compiled: Compiled | None, partitions: int, most: int, now: float
) -> Resent:
    """Append the events of letters and remove those that were taken; `now` in seconds, for deduplication.

    Interrupted between the two, it appends nothing twice when it is done again within a day.
    """
    resent = Resent()
    for start in range(0, len(entries), CHUNK):
        messages: dict[int, list[tuple[str, stream.Message]]] = {}
        for entry, letter in entries[start : start + CHUNK]:
            try:
                partition, message = _read(entry, letter, compiled, partitions)
            except RejectedError as error:
                resent.refused[describe(error.field, error.reason)] += 1
                if (error.field, error.reason) != (letter.field, letter.reason):
                    changed = msgspec.structs.replace(letter, field=error.field, reason=error.reason)
                    dead_letters.replace(redis, entry, changed, most)
            else:
                messages.setdefault(partition, []).append((entry, message))
        for partition, found in messages.items():
            arrivals = stream.append(redis, partition, [message for _, message in found], now)
            dead_letters.remove(redis, [entry for entry, _ in found])
            resent.accepted += sum(map(bool, arrivals))
            resent.duplicates += arrivals.count(0)
    return resent


def describe(field: str, reason: str) -> str:
    return f"{field}: {reason}" if field else reason


def _read(entry: str, letter: Letter, compiled: Compiled | None, partitions: int) -> tuple[int, stream.Message]:
    """The partition and the message of a letter. Raises RejectedError."""
    if not letter.is_whole:
        raise RejectedError(letter.field, letter.reason)
    own_id = f"dead-{entry}"
    try:
        if letter.source == "stream":  # its own id has been seen, when it was appended first
            customer = decode(letter.payload).customer
            message = stream.Message(own_id, letter.payload, customer)
        else:
            event, payload = admit(msgspec.json.decode(letter.payload), letter.received, own_id, compiled)
            customer, message = event.customer, stream.Message(event.message_id, payload, event.customer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedError("", str(error)) from error
    return stream.partition_of(customer, partitions), message
