"""Looking up in the tables of many rows at once: which keys are there, and where; and what whole tables come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numba import types

from features.compiling import READ_FLOATS, READ_INTS, compiled
from features.ids import BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from features.aggregates.aging import Floats
    from features.aggregates.columns import Columns
    from features.aggregates.plan import Plan
    from features.aggregates.windows import Whole

    Ints = NDArray[np.int64]
    from features.aggregates.plan import KeyedGroup

MOST_OWNERS = 1 << (63 - BITS)
"""Rows of one `Columns` that can be looked up by key at once: owner and digest share a 63-bit integer."""


class Found(msgspec.Struct, frozen=True):
    """The h keys of a group that are there."""

    which: Ints
    """(h,) in which of the group's tables"""
    row: Ints
    """(h,) of whose row"""
    who: Ints
    """(h,) of which owner"""
    states: Floats
    """(columns, h)"""


def find(columns: Columns, plan: Plan, owner: Ints, keys: dict[str, Ints]) -> list[Found]:
    """For each keyed group of the plan, what is there of (owner, key). Raises ValueError above MOST_OWNERS owners."""
    if columns.size == 1:
        return [_find_of_one(columns, group, keys[group.key]) for group in plan.keyed]
    if columns.size > MOST_OWNERS:
        raise ValueError(f"{columns.size} owners at once; look up at most {MOST_OWNERS} and chunk the rest")
    # Keys ascend within a table, and so does what owner and key make together.
    owners = np.arange(columns.size) << BITS
    found = []
    for group in plan.keyed:
        wanted = (owner << BITS) | keys[group.key]
        parts: list[tuple[Ints, Ints, Ints]] = []
        for which, table in enumerate(group.tables):
            count = columns.count[table]
            have = owners.repeat(count) | columns.ids[_flat(columns.key_at[table], count)]
            place, hit = _search(have, wanted)
            row = hit.nonzero()[0]
            parts.append((np.full(len(row), which), row, place[row] - (count.cumsum() - count)[owner[row]]))
        tables, rows, places = (np.concatenate(part) for part in zip(*parts, strict=True))
        who, own = owner[rows], group.tables[tables]
        at = columns.row_at[own, who] + places + group.columns * columns.count[own, who]
        found.append(Found(tables, rows, who, columns.numbers[at]))
    return found


def _find_of_one(columns: Columns, group: KeyedGroup, keys: Ints) -> Found:
    """The same for the only owner there is."""
    most = len(group.tables) * len(keys)
    places, states = np.empty((2, most), np.int64), np.empty((len(group.columns), most))
    counts, starts, rows = columns.count[:, 0], columns.key_at[:, 0], columns.row_at[:, 0]
    hits = _look_up(columns.ids, columns.numbers, counts, starts, rows, group.tables, keys, places, states)
    return Found(places[0, :hits], places[1, :hits], np.zeros(hits, np.int64), states[:, :hits])


@compiled(types.int64(READ_INTS, READ_FLOATS, *[READ_INTS] * 5, types.int64[:, ::1], types.float64[:, ::1]))
def _look_up(
    ids: Ints,
    numbers: Floats,
    counts: Ints,
    starts: Ints,
    rows: Ints,
    tables: Ints,
    keys: Ints,
    places: Ints,
    states: Floats,
) -> int:
    """Fill in table and row, and the states, of each key that is in a table; how many."""
    hits = 0
    for which in range(len(tables)):
        table = tables[which]
        first, count = starts[table], counts[table]
        for row in range(len(keys)):
            key, low, high = keys[row], first, first + count
            while low < high:
                middle = (low + high) >> 1
                if ids[middle] < key:
                    low = middle + 1
                else:
                    high = middle
            if low < first + count and ids[low] == key:
                places[0, hits], places[1, hits] = which, row
                for column in range(states.shape[0]):
                    states[column, hits] = numbers[rows[table] + (low - first) + column * count]
                hits += 1
    return hits


def _search(have: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where each of `wanted` would be in the ascending `have`, and whether it is there."""
    if not len(have):
        return np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape, bool)
    at = have.searchsorted(wanted)
    at[at == len(have)] = 0
    return at, have[at] == wanted


def _flat(starts: Ints, count: Ints) -> Ints:
    """Positions starts[i] .. starts[i] + count[i] - 1 of all i, one after another."""
    ends = count.cumsum()
    positions: Ints = (starts - ends + count).repeat(count) + np.arange(int(count.sum()))
    return positions


def close_table(columns: Columns, table: int, kind: Whole, now: Floats) -> Floats:
    """What a table that closes to one value comes to in each row."""
    count, keys, values = columns.count[table], columns.key_at[table], columns.row_at[table]
    row = np.arange(columns.size).repeat(count)
    if columns.size == 1:
        place, at = int(keys[0]), int(values[0])
        return kind.total(row, columns.ids[place : place + len(row)], columns.numbers[at : at + len(row)], now)
    return kind.total(row, columns.ids[_flat(keys, count)], columns.numbers[_flat(values, count)], now)
