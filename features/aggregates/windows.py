"""The kinds whose table closes to one value, whatever is asked about: counts, sums and distinct counts in a window."""

from __future__ import annotations

from heapq import heappush, heapreplace
from typing import TYPE_CHECKING

import numpy as np

from features.aggregates.aging import span
from features.aggregates.keyed import KeyedKind, Table
from features.ids import BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from features.aggregates.aging import Floats

    Ints = NDArray[np.int64]


class Whole(KeyedKind, frozen=True):
    """What these kinds answer: `total` instead of `finish`. Each key has one float, and the state none of its own."""

    roles = ()
    key_roles = ("plain",)
    outputs = ("",)
    takes_key = False

    def total(self, row: Ints, keys: Ints, values: Floats, now: Floats) -> Floats:
        """Tables of n states at `now` (n,) -> (n,): key and value i are in state row[i], by state, then by key."""
        raise NotImplementedError

    def close_table(self, state: Table, now: float) -> float:
        """One state at `now`."""
        keys, values = state.pack()
        row = np.zeros(len(keys), np.int64)
        return float(self.total(row, np.array(keys, np.int64), np.array(values), np.array([now]))[0])


class Window(Whole, frozen=True):
    """A count in the last `length` seconds, in hops: the head of the window is exact, its tail rounded up to a hop.

    It holds at most length / hop + 3 hops. An event from before the epoch counts as one at its beginning.

    >>> kind = Window(3600.0, 600.0); state = kind.empty()
    >>> kind.update(state, 50.0, 1.0, ()); kind.update(state, 1900.0, 1.0, ()); sorted(state.rows)
    [0, 3]
    >>> kind.close_table(state, 4199.0), kind.close_table(state, 4200.0)
    (2.0, 1.0)
    """

    length: float
    hop: float

    @property
    def slug(self) -> str:
        return f"count_{span(self.length)}"

    def oldest(self, now: Floats) -> Floats:
        """The first hop that still counts at `now`."""
        return np.floor((now - self.length) / self.hop)

    def update(self, state: Table, time: float, amount: float, keys: tuple[int, ...]) -> None:
        hop = max(int(time // self.hop), 0)  # below zero a hop's number would not sort among the keys of other tables
        row = state.rows.get(hop)
        state.packed = None
        if row is not None:
            row[0] += amount
            return
        state.rows[hop] = [amount]
        self._prune(state)

    def _prune(self, state: Table) -> None:
        oldest = max(state.rows, default=0) - int(-(-self.length // self.hop)) - 1
        for hop in [hop for hop in state.rows if hop < oldest]:
            del state.rows[hop]

    def merge(self, a: Table, b: Table) -> Table:
        merged = Table([], {hop: list(row) for hop, row in a.rows.items()})
        for hop, row in b.rows.items():
            merged.rows.setdefault(hop, [0.0])[0] += row[0]
        self._prune(merged)
        return merged

    def total(self, row: Ints, keys: Ints, values: Floats, now: Floats) -> Floats:
        inside = keys >= self.oldest(now)[row]
        return np.bincount(row, values * inside, len(now)).astype(np.float64)


class Sum(Window, frozen=True):
    """A sum of a value in the last `length` seconds, in hops as Window's.

    >>> kind = Sum(3600.0, 600.0); state = kind.empty()
    >>> kind.update(state, 50.0, 9.5, ()); kind.update(state, 70.0, -2.0, ()); kind.update(state, 1900.0, 5.0, ())
    >>> kind.close_table(state, 2000.0), kind.close_table(state, 4200.0)
    (12.5, 5.0)
    """

    values = ("items", "revenue")

    @property
    def slug(self) -> str:
        return f"sum_{span(self.length)}"


class Distinct(Whole, frozen=True):
    """How many different keys were named in the last `length` seconds: exact up to `bound`, beyond it an estimate.

    Digests spread evenly over [0, 2^48), so the (bound + 1)th smallest of n, as a fraction u of that range, tells n:
    bound / u is unbiased, with a relative standard error below 1 / sqrt(bound - 1), 13 % at 64 (k minimum values with
    k = bound + 1: Bar-Yossef et al. 2002; estimator and error: Giroire 2009, Beyer et al. 2007).

    A state holds each key's latest time, of those keys that can still be among the smallest of some window: fewer than
    bound + 1 smaller keys are as late (the list of possible maxima of Chabchoub and Hebrail 2010, for minima). That is
    (bound + 1) (1 + ln(n / (bound + 1))) keys on average. `merge` commutes, associates and is idempotent, and gives
    the state of both lists of events: beyond MOST x bound keys, which takes ids made for it or a thousand x bound of
    them, the oldest are dropped, and what is counted is a shorter window.

    >>> kind = Distinct(3600.0); state = kind.empty()
    >>> kind.update(state, 100.0, 1.0, (7, 8)); kind.update(state, 2000.0, 1.0, (8, 9))
    >>> [kind.close_table(state, now) for now in (2000.0, 3700.0, 5600.0)]
    [3.0, 2.0, 0.0]
    """

    takes_key = True
    length: float
    bound: int = 64

    @property
    def slug(self) -> str:
        return f"distinct_{span(self.length)}"

    def update(self, state: Table, time: float, amount: float, keys: tuple[int, ...]) -> None:
        rows = state.rows
        state.packed = None
        for key in keys:
            row = rows.get(key)
            if row is None:
                rows[key] = [time]
            else:
                row[0] = max(row[0], time)
        self._prune(state)

    def _prune(self, state: Table) -> None:
        rows = state.rows
        oldest = max([row[0] for row in rows.values()], default=0.0) - self.length
        for key in [key for key, (time,) in rows.items() if time <= oldest]:
            del rows[key]
        if len(rows) <= self.bound + 1:
            return
        latest: list[float] = []
        """Of the smaller keys, the bound + 1 latest times, as a heap."""
        for key in sorted(rows):
            time = rows[key][0]
            if len(latest) <= self.bound:
                heappush(latest, time)
            elif latest[0] < time:
                heapreplace(latest, time)
            else:
                del rows[key]
        for _, key in sorted((row[0], key) for key, row in rows.items())[: -MOST * self.bound]:
            del rows[key]

    def merge(self, a: Table, b: Table) -> Table:
        merged = Table([], {key: list(row) for key, row in a.rows.items()})
        for key, row in b.rows.items():
            mine = merged.rows.setdefault(key, [row[0]])
            mine[0] = max(mine[0], row[0])
        self._prune(merged)
        return merged

    def total(self, row: Ints, keys: Ints, values: Floats, now: Floats) -> Floats:
        inside = values > (now - self.length)[row]
        row, keys = row[inside], keys[inside]
        count = np.bincount(row, minlength=len(now))
        closed = count.astype(np.float64)
        if (many := count > self.bound).any():
            smallest = (count.cumsum() - count)[many]
            closed[many] = self.bound * 2.0**BITS / keys[smallest + self.bound]
        return closed


MOST = 8
"""Keys that a distinct count holds at most, as a multiple of its bound."""
