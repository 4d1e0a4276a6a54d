"""Bringing a generation that is being built up to what the workers have processed meanwhile: from the streams, in order
of arrival, without anything that a worker does beside features, as theirs has done it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from features import stream
from features.aggregates.engine import Candidates
from features.batch import UNFELT, Batch
from features.events.schema import Joined, skim
from features.identity import carried
from features.streaming import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis import Redis

    from features.aggregates.rows import Row
    from features.events.schema import Skimmed
    from features.store import OnlineStore

    Changed = tuple[int, str, int]
    """A candidate's row: partition, view, digest."""
    Read = tuple[int, int, Skimmed]
    """Arrival, partition, event."""

READ_AT_ONCE = 10_000
"""Entries of a partition."""


class Follower:
    """What a generation holds that its store does not tell: how far it is, and the candidates of each partition."""

    def __init__(
        self,
        redis: Redis,
        store: OnlineStore,
        candidates: dict[int, Candidates],
        positions: dict[int, int],
        moved: dict[tuple[str, int], Row],
        tracked: bool,
    ) -> None:
        """`positions`: partition -> arrival of the last event in it; `moved` as in `batch.Batch`."""
        self._redis, self._store, self._moved, self._tracked = redis, store, moved, tracked
        self.candidates, self.positions = candidates, positions

    def follow(self, check: Callable[[], None]) -> tuple[int, set[Changed]]:
        """Take in the next entries that the workers have processed -> (how many, candidates' rows that changed).

        `check` raises where nothing may be written any more.
        """
        entries = self._read()
        changed: set[Changed] = set()
        for start in range(0, len(entries), BATCH):
            changed |= self._take(entries[start : start + BATCH], check)
        return len(entries), changed

    def _read(self) -> list[tuple[int, int, bytes]]:
        """(arrival, partition, bytes) in order: what hands over comes before what takes over."""
        numbers = [number for number in self.positions if number >= 0]
        cursors: Any = self._redis.mget([stream.cursor_key(number) for number in numbers])
        entries: list[tuple[int, int, bytes]] = []
        end = max([int(cursor or 0) for cursor in cursors], default=0)
        for number, cursor in zip(numbers, cursors, strict=True):
            if int(cursor or 0) <= self.positions[number]:
                continue
            span = f"({self.positions[number]}-0", f"{int(cursor)}-0"
            found: Any = self._redis.xrange(stream.events_key(number), *span, count=READ_AT_ONCE)
            some = [(int(entry.split(b"-")[0]), number, fields[stream.FIELD]) for entry, fields in found]
            if len(some) == READ_AT_ONCE:
                end = min(end, some[-1][0])  # of the other partitions, only what came before that
            entries += some
        return sorted(entry for entry in entries if entry[0] <= end)

    def _take(self, entries: list[tuple[int, int, bytes]], check: Callable[[], None]) -> set[Changed]:
        events = [(arrival, number, event) for arrival, number, payload in entries if (event := _skim(payload))]
        felt = [read for read in events if read[2].customer and not isinstance(read[2], UNFELT)]
        rows = self._store.load_customers(sorted({event.customer for _, _, event in felt}))
        batches = {number: Batch(tracked=self._tracked, moved=self._moved) for number in self.positions}
        for arrival, number, event in felt:
            batch = batches[number]
            batch.apply(
                self.candidates.setdefault(number, Candidates()),
                self.positions[number],
                rows[event.customer],
                arrival,
                event,
            )
            self._keep_moved(batch)
        check()
        for batch in batches.values():
            self._store.write_identities(batch.identities.values())
            self._store.write("customer", [row for row in batch.touched.values() if row.text not in batch.erased])
            self._store.forget(batch.erased)
        for arrival, number, _ in entries:
            self.positions[number] = arrival
        return {(number, *key) for number, batch in batches.items() for key in batch.changed}

    def _keep_moved(self, batch: Batch) -> None:
        """What an id hands over here, for the event by which the worker has sent what was in its own row."""
        for event in batch.sent:
            if isinstance(event, Joined) and (row := carried(event)) is not None:
                self._moved[event.previous, event.linked] = row
        batch.sent.clear()


def _skim(payload: bytes) -> Skimmed | None:
    try:
        return skim(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # the worker has put it to the dead letters


def left(redis: Redis, positions: Iterable[tuple[int, int]]) -> int:
    """How many microseconds of arrivals (partition, position) are behind the workers, at most."""
    pairs = [(number, position) for number, position in positions if number >= 0]
    cursors: Any = redis.mget([stream.cursor_key(number) for number, _ in pairs])
    return max([int(cursor or 0) - position for cursor, (_, position) in zip(cursors, pairs, strict=True)], default=0)
