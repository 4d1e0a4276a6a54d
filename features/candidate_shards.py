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
    from pathlib import Path

    from features.aggregates.aging import Floats
    from features.aggregates.runs import Ints
    from features.extraction import Recorded

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
    size, texts = len(recorded.arrival), recorded.texts
    starts = np.searchsorted(recorded.item, np.arange(size + 1)).tolist()
    turns = np.searchsorted(passed.place, np.arange(size + 1)).tolist()
    followed = list(zip(passed.turn.tolist(), passed.before.tolist(), strict=True))
    columns = (
        recorded.partition.tolist(),
        recorded.name.tolist(),
        times.tolist(),
        recorded.arrival.tolist(),
        stamps.tolist(),
    )
    candidates, has_total = recorded.candidate.tolist(), TOTAL_ID % count == number
    last = -1
    with uncollected():
        for place, (partition, code, time, arrival, stamp) in enumerate(zip(*columns, strict=True)):
            if stamp != last:
                shard.write(last)
                last = stamp
            name, items = recorded.names[code], candidates[starts[place] : starts[place + 1]]
            for key in items:
                if key % count == number:
                    shard.touch(partition, name, time, arrival, key, texts[key])
            if has_total:
                shard.touch(partition, name, time, arrival, TOTAL_ID, TOTAL)
            for turn, before in followed[turns[place] : turns[place + 1]]:
                shard.follow(partition, name, time, arrival, turn, before, items)
        shard.write(last)
        for table in shard.tables.values():
            table.flush()
    return sum(table.rows for table in shard.tables.values())
