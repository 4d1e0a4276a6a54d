"""Waiting until the files hold what Redis has, and taking out of Redis what the files no longer hold."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from features import stream
from service.decisions.store import UnreachableError, answer_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.decisions.store import DecisionStore

ASK_SECONDS = 1.0
SETTLE_SECONDS = 30.0
PAUSE_SECONDS = 0.02
SETTLINGS = 3
"""What is handed on to another id comes to another stream, and from there perhaps to a third."""


async def settle(store: DecisionStore, partitions: int) -> None:
    """Wait until the archive holds all that came until now, and what that led to. Raises UnreachableError."""
    for _ in range(SETTLINGS):
        [lasts] = await store.ask([("MGET", *map(stream.last_key, range(partitions)))], ASK_SECONDS)
        await await_archive(store, [(number, int(last or 0)) for number, last in enumerate(lasts)])


async def await_archive(store: DecisionStore, tokens: Sequence[tuple[int, int]]) -> None:
    """Wait until the archive holds these events. Raises UnreachableError."""
    archived = ("MGET", *[stream.archived_key(number) for number, _ in tokens])
    flush = ("XADD", stream.FLUSH, "MAXLEN", "~", 1000, "*", "by", "api")
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        [found] = await store.ask([archived], ASK_SECONDS)
        if all(int(until or 0) >= arrival for until, (_, arrival) in zip(found, tokens, strict=True)):
            return
        if time.monotonic() > deadline:
            raise UnreachableError("the worker does not archive")
        await store.ask([flush], ASK_SECONDS)
        await asyncio.sleep(PAUSE_SECONDS)


async def forget_answers(
    store: DecisionStore, partitions: int, customers: Sequence[str], decisions: Sequence[str]
) -> int:
    """Delete the answers kept for retries, and processed entries that the streams still hold -> answers deleted.

    Raises UnreachableError.
    """
    places = sorted({stream.partition_of(customer, partitions) for customer in customers})
    [until] = await store.ask([("MGET", *map(stream.archived_key, places))], ASK_SECONDS)
    trims = [
        ("XTRIM", stream.events_key(place), "MINID", "=", f"{int(last or 0) + 1}-0")
        for place, last in zip(places, until, strict=True)
    ]
    answers = [("UNLINK", answer_key(place, decision)) for place in places for decision in decisions]
    found = await store.ask([*trims, *answers], SETTLE_SECONDS)
    return int(sum(found[len(trims) :]))
