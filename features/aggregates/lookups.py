"""Looking up in the tables of many rows at once: which keys are there, and where; and what whole tables come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from features.ids import BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from features.aggregates.aging import Floats
    from features.aggregates.columns import Columns
    from features.aggregates.plan import Plan
    from features.aggregates.windows import Whole

    Ints = NDArray[np.int64]
    Found = tuple[Ints, Ints, Ints]
    """Which of a group's tables has which row's key, and at which place of the table."""

MOST_OWNERS = 1 << (63 - BITS)
"""Rows of one `Columns` that can be looked up by key at once: owner and digest share a 63-bit integer."""


def find(columns: Columns, plan: Plan, owner: Ints, keys: dict[str, Ints]) -> list[Found]:
    """For each keyed group of the plan, what is there of (owner, key). Raises ValueError above MOST_OWNERS owners."""
    if columns.size == 1:
        return _find_of_one(columns, plan, keys)
    if columns.size > MOST_OWNERS:
        raise ValueError(f"{columns.size} owners at once; look up at most {MOST_OWNERS} and chunk the rest")
    # Keys ascend within a table, and so does what owner and key make together.
    owners = np.arange(columns.size) << BITS
    found = []
    for group in plan.keyed:
        wanted = (owner << BITS) | keys[group.key]
        parts: list[Found] = []
        for which, table in enumerate(group.tables):
            count = columns.count[table]
            have = owners.repeat(count) | columns.ids[_flat(columns.key_at[table], count)]
            place, hit = _search(have, wanted)
            row = hit.nonzero()[0]
            parts.append((np.full(len(row), which), row, place[row] - (count.cumsum() - count)[owner[row]]))
        tables, rows, places = (np.concatenate(part) for part in zip(*parts, strict=True))
        found.append((tables, rows, places))
    return found


def _find_of_one(columns: Columns, plan: Plan, keys: dict[str, Ints]) -> list[Found]:
    """The same for the only owner there is: all tables in one search."""
    count = columns.count[:, 0]
    ends = count.cumsum()
    start = int(columns.key_at[0, 0])
    # The tables' keys follow each other, and what table and key make together ascends.
    have = columns.ids[start : start + int(ends[-1])] | (plan.tables[:, 0] << BITS).repeat(count)
    starts = ends - count
    found = []
    for group in plan.keyed:
        place, hit = _search(have, (group.tables[:, None] << BITS) | keys[group.key])
        which, row = hit.nonzero()
        found.append((which, row, place[which, row] - starts[group.tables[which]]))
    return found


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
