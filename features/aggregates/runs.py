"""Events of many entities side by side, and what folding them has in common: to the bit what one event after another
would give, since each state sees the same operations in the same order.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from features.aggregates.aging import Floats

    Ints = NDArray[np.int64]

FEW = 48
"""Runs that are still going on: below it, one after another costs less than all side by side."""


class Runs:
    """Amounts by entity, in the order in which they happened to it.

    `entity` ascends within [0, size); `times[rank[i]]` is when amount i was (`times` ascends, each once).
    """

    def __init__(self, entity: Ints, rank: Ints, times: Floats, amount: Floats, size: int) -> None:
        self.entity, self.rank, self.times, self.amount, self.size = entity, rank, times, amount, size

    @cached_property
    def time(self) -> Floats:
        return self.times[self.rank]

    @cached_property
    def starts(self) -> Ints:
        """Where the entities that have amounts begin."""
        return np.flatnonzero(np.diff(self.entity, prepend=-1))

    @cached_property
    def present(self) -> Ints:
        """The entities that have amounts."""
        return self.entity[self.starts]

    @cached_property
    def lengths(self) -> Ints:
        return np.diff(self.starts, append=len(self.entity))

    @cached_property
    def _top(self) -> Ints:
        """The highest rank of the entity so far."""
        if not len(self.entity):
            return self.rank
        span = len(self.times) + 1
        return np.maximum.accumulate(self.entity * span + self.rank) - self.entity * span

    @cached_property
    def before(self) -> Floats:
        """The latest time of the entity before each amount; 0 where that is never, or before the epoch."""
        latest = np.zeros(len(self.entity))
        latest[1:] = self.times[self._top[:-1]]
        latest[self.starts] = 0.0
        return np.maximum(latest, 0.0)

    @cached_property
    def latest(self) -> Floats:
        """(size,) the latest time of each entity, 0 for never."""
        return self.spread(np.maximum(self.times[self._top[self.starts + self.lengths - 1]], 0.0))

    @cached_property
    def leading(self) -> Ints:
        """For each amount the place of the one that a `last` holds behind it; -1 for none."""
        leads = self.time >= self.before
        places = np.where(leads, np.arange(len(leads)), -1)
        found = np.maximum.accumulate(places) if len(places) else places
        first = np.repeat(self.starts, self.lengths)
        return np.where(found >= first, found, -1)

    def spread(self, values: Floats) -> Floats:
        """Values of the entities that are there -> (size,), 0 for the others."""
        whole = np.zeros(self.size)
        whole[self.present] = values
        return whole

    def decay(self, half_life: float, amount: Floats | None = None) -> Floats:
        """(size,) the decayed sum of the amounts, as of `latest`; see `aging.decay`."""
        added = self.amount if amount is None else amount
        time, before = self.time, self.before
        late = time < before
        # Not exp2, nor numpy's power, whose last bits are not those of Python's.
        share = np.float_power(2.0, np.where(late, time - before, before - time) / half_life)
        keep, add = np.where(late, 1.0, share), np.where(late, added * share, added)
        return self.spread(accumulate(keep, add, self.starts, self.lengths))

    def earliest(self) -> Floats:
        return self.spread(np.minimum.reduceat(self.time, self.starts) if len(self.starts) else self.time)


def accumulate(keep: Floats, add: Floats, starts: Ints, lengths: Ints) -> Floats:
    """Of each run, from 0 on and one after another: value x keep + add."""
    order = np.argsort(-lengths, kind="stable")
    first, left = starts[order], lengths[order]
    values = np.zeros(len(first))
    longest = int(left[FEW]) if len(left) > FEW else 0
    going = np.searchsorted(-left, -np.arange(longest), side="left")  # runs longer than each step
    for step, count in enumerate(going.tolist()):
        at = first[:count] + step
        values[:count] = values[:count] * keep[at] + add[at]
    for run in range(min(FEW, len(left))):
        rest = slice(int(first[run]) + longest, int(first[run] + left[run]))
        value = float(values[run])
        for share, amount in zip(keep[rest].tolist(), add[rest].tolist(), strict=True):
            value = value * share + amount
        values[run] = value
    whole = np.empty(len(first))
    whole[order] = values
    return whole
