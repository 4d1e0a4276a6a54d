"""Many packed rows at once: decoded into one column an aggregate, and closed at `now`. Serving one customer and
training on a million rows go through this code alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.keyed import KeyedKind, Window
from features.aggregates.rows import Layout, blank, pack
from features.ids import BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from features.aggregates.kinds import Floats

    Ints = NDArray[np.int64]

MOST_OWNERS = 1 << (63 - BITS)
"""Rows of one `Columns` that can be looked up by key at once: owner and digest share a 63-bit integer."""


class Column(msgspec.Struct, frozen=True):
    """One aggregate's states of n rows. For keyed kinds `count` keys a row, from `key_at` and `row_at` in the lists."""

    head: Floats
    count: Ints | None = None
    key_at: Ints | None = None
    row_at: Ints | None = None


class Columns(msgspec.Struct, frozen=True):
    """Decoded rows of one view."""

    layout: Layout
    size: int
    numbers: Floats
    ids: Ints
    columns: tuple[Column, ...]

    def take(self, index: Ints) -> Columns:
        """The rows at `index`, sharing the lists."""
        columns = tuple(
            Column(
                c.head[index],
                None if c.count is None else c.count[index],
                None if c.key_at is None else c.key_at[index],
                None if c.row_at is None else c.row_at[index],
            )
            for c in self.columns
        )
        return Columns(self.layout, len(index), self.numbers, self.ids, columns)


def decode(layout: Layout, numbers: Floats, number_starts: Ints, ids: Ints, id_starts: Ints) -> Columns:
    """Columns of n packed rows: row i begins at number_starts[i] in `numbers` and at id_starts[i] in `ids`."""
    at, key_at = number_starts, id_starts
    columns = []
    for aggregate in layout.aggregates:
        kind = aggregate.kind
        head = numbers[at[:, None] + np.arange(kind.slots)]
        at = at + kind.slots
        if isinstance(kind, KeyedKind):
            count = ids[key_at]
            columns.append(Column(head, count, key_at + 1, at))
            key_at = key_at + 1 + count
            at = at + kind.columns * count
        else:
            columns.append(Column(head))
    return Columns(layout, len(number_starts), numbers, ids, tuple(columns))


def decode_rows(layout: Layout, rows: Sequence[tuple[Sequence[float], Sequence[int]]]) -> Columns:
    """Columns of packed rows (numbers, ids)."""
    numbers = np.concatenate([np.asarray(row[0], np.float64) for row in rows] or [np.empty(0)])
    ids = np.concatenate([np.asarray(row[1], np.int64) for row in rows] or [np.empty(0, np.int64)])
    return decode(layout, numbers, _starts([len(row[0]) for row in rows]), ids, _starts([len(row[1]) for row in rows]))


def decode_blank(layout: Layout, size: int = 1) -> Columns:
    """Columns of `size` entities without events."""
    numbers, ids = pack(blank(layout, ""))
    zeros = np.zeros(size, np.int64)
    return decode(layout, np.asarray(numbers, np.float64), zeros, np.asarray(ids, np.int64), zeros)


def _starts(lengths: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths[:-1])]).astype(np.int64) if lengths else np.empty(0, np.int64)


def close(
    columns: Columns, now: Floats, owner: Ints | None = None, keys: dict[str, Ints] | None = None
) -> dict[str, Floats]:
    """Every feature of the view at `now`.

    `now` (n,) is the instant of each row of `columns`. Without `owner`, unkeyed features come back as (n,) arrays.
    With `owner` (rows,) and `keys` ("candidate" and "category" -> digests (rows,)), keyed features are looked up for
    pair (owner, key) and come back as (rows,) arrays, as do the unkeyed ones, spread to their owners' rows.
    Raises ValueError above MOST_OWNERS rows.
    """
    if columns.size > MOST_OWNERS:
        raise ValueError(f"{columns.size} rows at once; close at most {MOST_OWNERS} and chunk the rest")
    closed: dict[str, Floats] = {}
    for aggregate, column in zip(columns.layout.aggregates, columns.columns, strict=True):
        kind = aggregate.kind
        if isinstance(kind, Window):
            values: tuple[Floats, ...] = (_sum_window(columns, column, kind, now),)
        elif isinstance(kind, KeyedKind):
            if owner is None or keys is None or aggregate.key is None:
                continue
            rows = _look_up(columns, column, kind.columns, owner, keys[aggregate.key])
            for name, value in zip(aggregate.outputs, kind.close(column.head[owner], rows, now[owner]), strict=True):
                closed[name] = value
            continue
        else:
            values = kind.close(column.head, now)
        for name, value in zip(aggregate.outputs, values, strict=True):
            closed[name] = value if owner is None else value[owner]
    return closed


def _flat(starts: Ints, count: Ints) -> Ints:
    """Positions starts[i] .. starts[i] + count[i] - 1 of all i, one after another."""
    before = np.cumsum(count) - count
    positions: Ints = np.repeat(starts - before, count) + np.arange(int(count.sum()))
    return positions


def _sum_window(columns: Columns, column: Column, kind: Window, now: Floats) -> Floats:
    assert column.count is not None
    assert column.key_at is not None
    assert column.row_at is not None
    row = np.repeat(np.arange(columns.size), column.count)
    hops = columns.ids[_flat(column.key_at, column.count)]
    amounts = columns.numbers[_flat(column.row_at, column.count)]
    inside = hops >= kind.oldest(now)[row]
    counted: Floats = np.bincount(row, weights=amounts * inside, minlength=columns.size)
    return counted


def _look_up(columns: Columns, column: Column, width: int, owner: Ints, key: Ints) -> Floats:
    """The table row of each (owner, key): (rows, width), zeros where the owner has no such key."""
    assert column.count is not None
    assert column.key_at is not None
    assert column.row_at is not None
    found = np.zeros((len(key), width))
    count = column.count
    if columns.size == 1:
        start = int(column.key_at[0])
        have = columns.ids[start : start + int(count[0])]
        wanted = key
    else:
        have = (np.repeat(np.arange(columns.size), count) << BITS) | columns.ids[_flat(column.key_at, count)]
        wanted = (owner << BITS) | key
    if not len(have):
        return found
    at = np.minimum(np.searchsorted(have, wanted), len(have) - 1)
    hit = np.flatnonzero(have[at] == wanted)
    if not len(hit):
        return found
    who = owner[hit]
    local = at[hit] - (np.cumsum(count) - count)[who]
    base = column.row_at[who] + local
    for c in range(width):
        found[hit, c] = columns.numbers[base + c * count[who]]
    return found
