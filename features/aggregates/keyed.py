"""The kinds of aggregate with keys: one bounded table a state, one value per candidate when closed.

A state is `Table(head, rows)`: floats of its own, and floats per key. Keys are digests. The kinds whose table closes to
one value are in windows.py.
"""

from __future__ import annotations

from heapq import nsmallest
from math import inf, log2
from typing import TYPE_CHECKING, ClassVar

import msgspec
import numpy as np

from features.aggregates.aging import Role, age, decay, parameters_of, span
from features.aggregates.kinds import Value  # noqa: TC001  # msgspec reads annotations at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.aggregates.aging import Floats, Parameters


KEPT = 24
"""Keys from which on a table keeps its packed form: of small ones it costs the garbage collector more than it saves."""


class Table(msgspec.Struct, eq=False):
    """The state of a keyed kind. Whoever changes `rows` drops `packed`."""

    head: list[float]
    rows: dict[int, list[float]]
    packed: tuple[list[int], list[float]] | None = None
    """What `pack` gave, kept of large tables, as an event changes few of a customer's."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self.head == other.head and self.rows == other.rows

    def pack(self) -> tuple[list[int], list[float]]:
        """The keys in order, and one run per column."""
        if self.packed is not None:
            return self.packed
        keys = sorted(self.rows)
        values: list[float] = []
        for column in zip(*[self.rows[key] for key in keys], strict=True):
            values += column
        if len(keys) >= KEPT:
            self.packed = keys, values
        return keys, values


class KeyedKind(msgspec.Struct, frozen=True):
    """What every keyed kind answers: `roles` of the floats in the head, and of those of each key."""

    roles: ClassVar[tuple[Role, ...]]
    key_roles: ClassVar[tuple[Role, ...]]
    outputs: ClassVar[tuple[str, ...]]
    categorical: ClassVar[bool] = False
    groups: ClassVar[int] = 1
    values: ClassVar[tuple[Value, ...]] = ("one",)
    takes_key: ClassVar[bool] = True
    """Whether a declaration says what it is keyed by."""

    @property
    def slug(self) -> str:
        raise NotImplementedError

    @property
    def slots(self) -> int:
        return len(self.roles)

    @property
    def columns(self) -> int:
        return len(self.key_roles)

    def empty(self) -> Table:
        return Table([0.0] * self.slots, {})

    def update(self, state: Table, time: float, amount: float, keys: tuple[int, ...]) -> None:
        """Take in one event at `time` that named `keys` (a category as often as the event has items in it)."""
        raise NotImplementedError

    def merge(self, a: Table, b: Table) -> Table:
        raise NotImplementedError

    @classmethod
    def finish(cls, head: Sequence[Floats], row: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        """What `age` made of the head and of the key's row (see `absent`) -> an array for each output.

        All shapes broadcast, those of the kinds' `parameters` too.
        """
        raise NotImplementedError

    @classmethod
    def absent(cls) -> list[Floats]:
        """The aged row of a key that is not there: nothing happened, and never."""
        return [np.full((1, 1), np.nan if role == "age" else 0.0) for role in cls.key_roles]

    def close(self, head: Floats, rows: Floats, now: Floats) -> tuple[Floats, ...]:
        """Of this kind, at `now` (n,): head (n, slots), rows (n, columns), zeros if absent -> an (n,) array each."""
        parameters = parameters_of([self])
        aged, row = age(self.roles, head.T, now, parameters), age(self.key_roles, rows.T, now, parameters)
        return self.finish(aged, row, parameters)


class Affinity(KeyedKind, frozen=True):
    """Which keys a customer's events went to: per key the decayed count and its smoothed share of all.

    Exact, merged too, while at most `bound` keys were named. Beyond, the key with the smallest decayed count is dropped
    and begins again when it returns: a count is then what came since, never more than what happened, and the total
    stays exact. A key just named is spared, else a table of strong keys would never let a new favourite in.

    >>> kind = Affinity(10.0); state = kind.empty()
    >>> kind.update(state, 100.0, 1.0, (7,)); kind.update(state, 100.0, 1.0, (8,)); kind.update(state, 100.0, 1.0, (7,))
    >>> level, share = kind.close(np.array([state.head]), np.array([state.rows[7]]), np.array([110.0]))
    >>> float(level[0]), float(share[0])
    (1.0, 0.4)
    """

    roles = ("value", "time")
    key_roles = ("value", "time")
    outputs = ("level", "share")
    half_life: float
    bound: int = 32
    strength: float = 1.0

    @property
    def slug(self) -> str:
        return f"affinity_{span(self.half_life)}"

    def update(self, state: Table, time: float, amount: float, keys: tuple[int, ...]) -> None:
        head, rows = state.head, state.rows
        state.packed = None
        for key in keys:
            head[0], head[1] = decay(head[0], head[1], amount, time, self.half_life)
            row = rows.get(key)
            if row is None:
                rows[key] = [amount, time]
            else:
                row[0], row[1] = decay(row[0], row[1], amount, time, self.half_life)
        self._prune(state, keys)

    def _prune(self, state: Table, spared: tuple[int, ...] = ()) -> None:
        rows, half_life = state.rows, self.half_life
        if (excess := len(rows) - self.bound) <= 0:
            return
        named = () if len(spared) >= self.bound else spared
        # The logarithm of a decayed count, as of time 0, compares at any instant.
        weights = (
            (log2(value) + time / half_life if value > 0 else -inf, key)
            for key, (value, time) in rows.items()
            if key not in named
        )
        for _, key in [min(weights)] if excess == 1 else nsmallest(excess, weights):
            del rows[key]

    def merge(self, a: Table, b: Table) -> Table:
        merged = Table(_sum(a.head, b.head, self.half_life), {key: list(row) for key, row in a.rows.items()})
        for key, row in b.rows.items():
            mine = merged.rows.get(key)
            merged.rows[key] = list(row) if mine is None else _sum(mine, row, self.half_life)
        self._prune(merged)
        return merged

    @classmethod
    def finish(cls, head: Sequence[Floats], row: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        return row[0], row[0] / (head[0] + parameters["strength"])


def _sum(a: list[float], b: list[float], half_life: float) -> list[float]:
    return list(decay(a[0], a[1], b[0], b[1], half_life))


class Transition(Affinity, frozen=True):
    """What follows what, kept on the item before: as Affinity, keyed by the item after.

    >>> kind = Transition(10.0); before = kind.empty()
    >>> for time, after in ((100.0, 7), (100.0, 8), (110.0, 7)): kind.update(before, time, 1.0, (after,))
    >>> level, share = kind.close(np.array([before.head]), np.array([before.rows[7]]), np.array([110.0]))
    >>> float(level[0]), float(share[0])
    (1.5, 0.5)
    """

    bound: int = 64

    @property
    def slug(self) -> str:
        return f"transition_{span(self.half_life)}"


class History(KeyedKind, frozen=True):
    """A customer's own events with each candidate: count, seconds since the last, and events since then.

    The head counts all events, so a share is count / total. Exact while at most `bound` keys were named; beyond, the
    longest unseen is dropped, and begins again when it returns: no more than happened, the total exact. Of a merged
    state count, total and recency are those of both lists, and "events since" is too low by at most the events of the
    other list, as two tables do not say how their events interleaved.

    >>> kind = History(); state = kind.empty()
    >>> kind.update(state, 100.0, 1.0, (7, 8)); kind.update(state, 160.0, 1.0, (8,))
    >>> [float(x[0]) for x in kind.close(np.array([state.head]), np.array([state.rows[7]]), np.array([200.0]))]
    [1.0, 2.0, 100.0, 1.0]
    """

    roles = ("plain",)
    key_roles = ("plain", "age", "plain")
    outputs = ("count", "total", "recency", "since")
    bound: int = 128

    @property
    def slug(self) -> str:
        return f"history_{self.bound}"

    def update(self, state: Table, time: float, amount: float, keys: tuple[int, ...]) -> None:
        state.head[0] += 1.0
        state.packed = None
        for key in keys:
            row = state.rows.get(key)
            if row is None:
                state.rows[key] = [amount, time, state.head[0]]
            else:
                row[0] += amount
                row[1] = max(row[1], time)
                row[2] = state.head[0]
        self._prune(state)

    def _prune(self, state: Table) -> None:
        excess = len(state.rows) - self.bound
        if excess > 0:
            for *_, key in nsmallest(excess, ((time, number, key) for key, (_, time, number) in state.rows.items())):
                del state.rows[key]

    def merge(self, a: Table, b: Table) -> Table:
        """Counts add and the latest time wins; "events since" is the fewer of either side's."""
        total = a.head[0] + b.head[0]
        merged = Table([total], {})
        for key in a.rows.keys() | b.rows.keys():
            sides = [(side.rows[key], side.head[0]) for side in (a, b) if key in side.rows]
            later = min(events - row[2] for row, events in sides)
            merged.rows[key] = [sum(row[0] for row, _ in sides), max(row[1] for row, _ in sides), total - later]
        self._prune(merged)
        return merged

    @classmethod
    def finish(cls, head: Sequence[Floats], row: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        count, events = row[0], head[0]
        return count, events, row[1], np.where(count > 0, events - row[2], np.nan)
