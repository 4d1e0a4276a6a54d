"""One shard of candidates on their way to the historical store: their states as of each snapshot that changed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.declared import ANY, TOTAL
from features.aggregates.engine import FOLLOWED, TOTAL_ID, TOUCHES, Candidates
from features.aggregates.rows import LAYOUTS
from features.historical import Table
from features.history import merge_rows
from features.several import uncollected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from features.aggregates.aging import Floats
    from features.aggregates.runs import Ints
    from features.extraction import Recorded

CHUNK = 1 << 16
VIEWS = ("candidate", "successors")


class Passed(msgspec.Struct, frozen=True):
    """Events that may follow another: each one's place, which of the aggregates for such events, and the candidate that
    its customer had seen before (0: none).
    """

    place: Ints
    turn: Ints
    before: Ints


class _Shard:
    """The states of the shard's candidates, by partition, and which of them changed since they were written."""

    def __init__(self, folder: Path, number: int, partitions: list[int]) -> None:
        self.tables = {view: Table(folder / view, LAYOUTS[view], f"{number:04d}-") for view in VIEWS}
        self.parts = {partition: Candidates() for partition in partitions}
        self._changed: dict[str, set[int]] = {view: set() for view in VIEWS}

    def touch(self, partition: int, name: str, time: float, arrival: int, key: int, text: str) -> None:
        touches = TOUCHES["candidate"]
        row = self.parts[partition].row("candidate", key, text)
        for touch in touches.get(name, touches[ANY]):
            touch.update(row.states[touch.at], time, 1.0, touch.part)
        row.applied = arrival
        self._changed["candidate"].add(key)

    def follow(
        self, partition: int, name: str, time: float, arrival: int, turn: int, before: int, items: list[int]
    ) -> None:
        known, after = self.parts[partition].candidate.get(before), tuple(key for key in items if key != before)
        if known is None or not after:
            return
        touch, _ = FOLLOWED[name][turn]
        row = self.parts[partition].row("successors", before, known.text)
        touch.update(row.states[touch.at], time, 1.0, after)
        row.applied = arrival
        self._changed["successors"].add(before)

    def write(self, stamp: int) -> None:
        """What changed, all partitions together, as of a snapshot."""
        for view, keys in self._changed.items():
            if keys:
                partitions = [getattr(part, view) for part in self.parts.values()]
                self.tables[view].add(merge_rows(LAYOUTS[view], partitions, sorted(keys)), stamp)
                keys.clear()


def write_candidates(
    folder: Path,
    number: int,
    count: int,
    partitions: list[int],
    recorded: Recorded,
    times: Floats,
    stamps: Ints,
    passed: Passed,
) -> int:
    """Write the rows of shard `number` of `count` -> how many. `recorded` are the events that concern it, in the order
    in which they count, `times` when they were (seconds), `stamps` the snapshot that holds each first.
    """
    shard = _Shard(folder, number, partitions)
    texts, has_total = recorded.texts, TOTAL_ID % count == number
    last = -1
    with uncollected():
        for partition, code, time, arrival, stamp, items, follows in _each(recorded, times, stamps, passed):
            if stamp != last:
                shard.write(last)
                last = stamp
            name = recorded.names[code]
            for key in items:
                if key % count == number:
                    shard.touch(partition, name, time, arrival, key, texts[key])
            if has_total:
                shard.touch(partition, name, time, arrival, TOTAL_ID, TOTAL)
            for turn, before in follows:
                shard.follow(partition, name, time, arrival, turn, before, items)
        shard.write(last)
        for table in shard.tables.values():
            table.flush()
    return sum(table.rows for table in shard.tables.values())


def _each(
    recorded: Recorded, times: Floats, stamps: Ints, passed: Passed
) -> Iterator[tuple[int, int, float, int, int, list[int], list[tuple[int, int]]]]:
    """Partition, code of the name, time, arrival, snapshot, items and what it may follow, of each event.

    Some events after the others: as objects, all would take many times their room.
    """
    size = len(recorded.arrival)
    for first in range(0, size, CHUNK):
        rows = slice(first, min(first + CHUNK, size))
        places = np.arange(rows.start, rows.stop + 1)
        starts, turns = np.searchsorted(recorded.item, places), np.searchsorted(passed.place, places)
        mine, follows = slice(starts[0], starts[-1]), slice(turns[0], turns[-1])
        candidates = recorded.candidate[mine].tolist()
        followed = list(zip(passed.turn[follows].tolist(), passed.before[follows].tolist(), strict=True))
        columns = (recorded.partition[rows], recorded.name[rows], times[rows], recorded.arrival[rows], stamps[rows])
        items, turned = (starts - starts[0]).tolist(), (turns - turns[0]).tolist()
        for at, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            yield *row, candidates[items[at] : items[at + 1]], followed[turned[at] : turned[at + 1]]
