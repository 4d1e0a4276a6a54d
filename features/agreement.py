"""Two sides' packed rows of the same entities, closed at one instant with all keys that either has: how they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.columns import close, decode_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from features.aggregates.columns import Columns
    from features.aggregates.rows import Layout

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Packed = tuple[Sequence[float], Sequence[int]]

TOLERANCE = 1e-9
"""Relative to the value, and absolute below 1."""
AT_ONCE = 500
"""Rows closed together: with their keys they are many more."""
NEVER = 1
"""A key that is in no table, but for the one id of 2^48 that has this digest."""


class Difference(msgspec.Struct, frozen=True):
    """What came of comparing values; `+` is what came of both."""

    values: int = 0
    largest: float = 0.0
    """Infinite where one side has a value and the other none."""
    agrees: bool = True

    def __add__(self, other: Difference) -> Difference:
        largest = max(self.largest, other.largest)
        return Difference(self.values + other.values, largest, self.agrees and other.agrees)


def compare(layout: Layout, live: list[Packed], other: list[Packed], now: float) -> dict[str, Difference]:
    """Each feature's difference over all rows and keys, at `now` in seconds."""
    found = {output: Difference() for aggregate in layout.aggregates for output in aggregate.outputs}
    for start in range(0, len(live), AT_ONCE):
        sides = [decode_rows(layout, rows[start : start + AT_ONCE]) for rows in (live, other)]
        for closed in zip(*(_close(side, now, *_keys(sides)) for side in sides), strict=True):
            mine, theirs = closed
            for name, values in mine.items():
                found[name] += measure(values, theirs[name])
    return found


def _close(side: Columns, now: float, owner: Ints, keys: Ints) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The features of the rows, and those of their pairs with the keys."""
    instants = np.full(side.size, now)
    own = close(side, instants)
    pairs = close(side, instants, owner, {"candidate": keys, "category": keys})
    return own, {name: values for name, values in pairs.items() if name not in own}


def _keys(sides: list[Columns]) -> tuple[Ints, Ints]:
    """Each row beside every key that one of its sides has, and beside one that none has."""
    pairs = [np.stack([np.arange(sides[0].size), np.full(sides[0].size, NEVER)])]
    for side in sides:
        count, starts = side.count.ravel(), side.key_at.ravel()
        row = np.tile(np.arange(side.size), len(side.count)).repeat(count)
        place = (starts - np.cumsum(count) + count).repeat(count) + np.arange(int(count.sum()))
        pairs.append(np.stack([row, side.ids[place]]))
    owner, keys = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return owner, keys


def measure(mine: Floats, theirs: Floats) -> Difference:
    nothing = np.isnan(mine) & np.isnan(theirs)
    apart = np.where(nothing, 0.0, np.abs(mine - theirs))
    apart[np.isnan(apart)] = np.inf
    close_enough = apart <= TOLERANCE * np.maximum(1.0, np.abs(np.nan_to_num(mine)))
    return Difference(len(mine), float(apart.max(initial=0.0)), bool(close_enough.all()))
