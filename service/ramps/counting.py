"""What a step's units did, out of the archive, which is read from where the last look ended.

Only decisions under a catalog with the step's own buckets count, of units whose bucket had the champion until the step
began. Views and clicks go to their decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features import archive
from features.events.occurrences import identifier
from features.ids import fingerprint
from service.catalog.kept import open_version
from service.experiments.hashing import bucket
from service.ramps import publishing

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from numpy.typing import NDArray

    from features.home import Home
    from service.ramps.state import Ramp, Ranges

VIEWED, CLICKED = "Promotion Viewed", "Promotion Clicked"
COLUMNS = ["arrival", "partition", "type", "event", "payload"]
CONTROLS = 10
"""Buckets of the champion that count for each fresh one: more would make no interval narrower, and cost memory."""
SLOWEST = 1_000_000
"""Microseconds that a decision counts at most, so that one that hung does not decide."""
MOST_WAITING = 200_000
"""Views and clicks without their decision that are kept: nearly all of them are of decisions that do not count."""
FIELDS = 5
DECISIONS, ERRORS, TOOK, SEEN, CLICKS = range(FIELDS)


class _Slot(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    rung: str = ""


class _Noted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is read of a decision, a view or a click."""

    message_id: str = ""
    decision_id: str | None = None
    properties: dict[str, Any] = {}
    unit: str = ""
    variants: dict[str, str] = {}
    forced: list[str] = []
    unassigned: bool = False
    bot: bool = False
    audience: str = ""
    readable: bool = True
    took: int = 0
    catalog_version: str = ""
    placements: list[_Slot] = []


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Of n units: whether each has the challenger, and what it did."""

    arm: NDArray[np.int64]
    """(n,) 1: the challenger"""
    totals: NDArray[np.float64]
    """(n, 5) decisions, those below the model's rung, microseconds they took, views, and views that were clicked"""
    chance: float
    """Of the challenger, by the buckets that are compared; 1 where no champion is left."""


_decoder = msgspec.json.Decoder(_Noted)


class Table:
    """Of one step. It grows; a look costs what has come since the last one."""

    def __init__(self, home: Home, partitions: int, ramp: Ramp) -> None:
        self._home, self._partitions, self._ramp = home, partitions, ramp
        fresh, control = buckets_of(ramp.fresh), buckets_of(ramp.control)
        if ramp.control:
            control = control[:: max(len(control) // max(CONTROLS * len(fresh), 1), 1)]
        self._arm_of = dict.fromkeys(control, 0) | dict.fromkeys(fresh, 1)
        self._chance = len(fresh) / max(len(fresh) + len(control), 1)
        self._cursor: dict[int, int] = {}
        self._versions: dict[str, bool] = {}
        self._unit: dict[int, int] = {}
        self._arms: list[int] = []
        self._rows: list[list[int]] = []
        self._made: dict[int, int] = {}
        """Decision -> unit."""
        self._waiting: dict[int, int] = {}
        """What came before its decision: of which kinds."""
        self._marks: dict[int, int] = {}
        """Decision -> 1 if it was seen, 2 if it was clicked, 3 if both."""

    def grow(self) -> Counts:
        """Read what is new; all of the step so far."""
        cursor, since = self._cursor, self._ramp.began
        if len(cursor) >= self._partitions:
            since = max(since, min(cursor.values()) + 1)
        table = archive.read(self._home.archive, COLUMNS, ["track", "decision"], since=since)
        for kind, event, partition, arrival, payload in _rows(table):
            if partition == archive.IMPORTED or arrival <= cursor.get(partition, 0):
                continue
            cursor[partition] = arrival
            if kind == "decision":
                self._decide(_decoder.decode(payload))
            elif event in (VIEWED, CLICKED):
                self._mark(_decoder.decode(payload), 1 if event == VIEWED else 2)
        return self._count()

    def _decide(self, event: _Noted) -> None:
        if not event.unit or event.forced or event.unassigned or event.bot or event.audience or not event.readable:
            return
        if self._ramp.experiment not in event.variants or not self._belongs(event.catalog_version):
            return
        arm = self._arm_of.get(bucket(self._ramp.experiment, event.unit))
        if arm is None or event.variants[self._ramp.experiment] != ("champion", "challenger")[arm]:
            return
        unit = self._unit.setdefault(fingerprint(event.unit), len(self._rows))
        if unit == len(self._rows):
            self._rows.append([0] * FIELDS)
            self._arms.append(arm)
        row = self._rows[unit]
        row[DECISIONS] += 1
        row[ERRORS] += any(slot.id in self._ramp.placements and slot.rung != "model" for slot in event.placements)
        row[TOOK] += min(event.took, SLOWEST)
        decision = fingerprint(event.decision_id or event.message_id)
        self._made[decision] = unit
        for what in (1, 2):
            if self._waiting.get(decision, 0) & what:
                self._count_mark(decision, unit, what)
        self._waiting.pop(decision, None)

    def _mark(self, event: _Noted, what: int) -> None:
        said, placement = (identifier(event.properties.get(name)) for name in ("decision_id", "placement"))
        if not said or placement not in self._ramp.placements:
            return
        decision = fingerprint(said)
        unit = self._made.get(decision)
        if unit is None:
            self._waiting[decision] = self._waiting.pop(decision, 0) | what  # or it is of none that counts
            if len(self._waiting) > MOST_WAITING:
                del self._waiting[next(iter(self._waiting))]
        else:
            self._count_mark(decision, unit, what)

    def _count_mark(self, decision: int, unit: int, what: int) -> None:
        """A click is of a view: one that comes without or before it counts when that is there."""
        before = self._marks.get(decision, 0)
        self._marks[decision] = now = before | what
        row = self._rows[unit]
        row[SEEN] += (now & 1) - (before & 1)
        row[CLICKS] += (now == 3) - (before == 3)

    def _belongs(self, version: str) -> bool:
        """Whether a version of the catalog has the step's buckets, and the ramp running."""
        if version not in self._versions:
            kept = open_version(self._home, version)
            found = None if kept is None else publishing.find(kept, self._ramp)
            challenger = None if found is None else found.variants[1].ranges
            self._versions[version] = (
                found is not None and found.status == "running" and challenger == self._ramp.ranges
            )
        return self._versions[version]

    def _count(self) -> Counts:
        return Counts(
            arm=np.array(self._arms, np.int64),
            totals=np.array(self._rows, np.float64).reshape(-1, FIELDS),
            chance=self._chance,
        )


def _rows(table: pa.Table) -> Iterable[tuple[str, str | None, int, int, bytes]]:
    for batch in table.to_batches(max_chunksize=10_000):
        columns = (batch[name].to_pylist() for name in ("type", "event", "partition", "arrival", "payload"))
        yield from zip(*columns, strict=True)


def buckets_of(ranges: Ranges) -> list[int]:
    return [at for start, end in ranges for at in range(start, end)]


def ranges_of(buckets: Iterable[int]) -> Ranges:
    """Buckets as ranges.

    >>> ranges_of([3, 1, 2, 7])
    ((1, 4), (7, 8))
    """
    found: list[tuple[int, int]] = []
    for at in sorted(buckets):
        if found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return tuple(found)
