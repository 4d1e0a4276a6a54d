"""Many packed rows at once: decoded together and closed at `now`. Serving one customer and training on a million rows
go through this code alike. Aggregates of one kind are closed together, and all tables are searched at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.keyed import KeyedKind, Window
from features.aggregates.kinds import Kind, parameters_of
from features.aggregates.rows import Layout, blank, pack
from features.ids import BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from features.aggregates.kinds import Floats, Parameters

    Ints = NDArray[np.int64]

MOST_TABLES = 16
MOST_OWNERS = (1 << (63 - BITS)) // MOST_TABLES
"""Rows of one `Columns` that can be looked up by key at once: owner, table and digest share a 63-bit integer."""


class _Group(msgspec.Struct, frozen=True):
    """The k aggregates of one class of kinds, closed together."""

    kind: type[Kind]
    slots: Ints
    """(k, slots) places in the head."""
    parameters: Parameters
    names: tuple[tuple[str, ...], ...]
    """For each output, the names of the k features."""


class _KeyedGroup(msgspec.Struct, frozen=True):
    """As _Group, of keyed kinds."""

    kind: type[KeyedKind]
    slots: Ints
    parameters: Parameters
    names: tuple[tuple[str, ...], ...]
    tables: Ints
    """(k,)"""
    width: int
    """Columns of each table."""


class _Plan(msgspec.Struct, frozen=True):
    """What a layout comes to: the places of everything in the packed lists."""

    head: int
    tables: int
    widths: Ints
    """(tables,) columns of each table."""
    keys: tuple[str | None, ...]
    unkeyed: tuple[_Group, ...]
    keyed: tuple[_KeyedGroup, ...]
    windows: tuple[tuple[int, Window, str], ...]
    """(table, kind, feature) of each."""


@lru_cache(maxsize=64)
def _plan(layout: Layout) -> _Plan:
    members: dict[type[Kind] | type[KeyedKind], list[tuple[int, int, int]]] = {}
    windows = []
    widths: list[int] = []
    keys: list[str | None] = []
    head = 0
    for at, aggregate in enumerate(layout.aggregates):
        kind = aggregate.kind
        if isinstance(kind, Window):
            windows.append((len(widths), kind, aggregate.name))
        else:
            members.setdefault(type(kind), []).append((at, head, len(widths)))
        if isinstance(kind, KeyedKind):
            widths.append(kind.columns)
            keys.append(aggregate.key)
        head += kind.slots
    if len(widths) > MOST_TABLES:
        raise ValueError(f"{layout.view} has {len(widths)} keyed aggregates, at most {MOST_TABLES} fit")
    unkeyed, keyed = [], []
    for kind_class, places in members.items():
        aggregates = [layout.aggregates[at] for at, _, _ in places]
        slots = np.array([at for _, at, _ in places], np.int64)[:, None] + np.arange(kind_class.slots)
        parameters = parameters_of([aggregate.kind for aggregate in aggregates])
        names = tuple(zip(*[aggregate.outputs for aggregate in aggregates], strict=True))
        if issubclass(kind_class, KeyedKind):
            across = {name: values[:, None] for name, values in parameters.items()}
            tables = np.array([table for _, _, table in places], np.int64)
            keyed.append(_KeyedGroup(kind_class, slots, across, names, tables, kind_class.columns))
        else:
            unkeyed.append(_Group(kind_class, slots, parameters, names))
    return _Plan(
        head, len(widths), np.array(widths, np.int64), tuple(keys), tuple(unkeyed), tuple(keyed), tuple(windows)
    )


class Columns(msgspec.Struct, frozen=True):
    """Decoded rows of one view. Table t of row i has `count[i, t]` keys from ids[key_at[i, t]], and its columns, one
    after another, from numbers[row_at[i, t]].
    """

    layout: Layout
    numbers: Floats
    ids: Ints
    head: Floats
    """(n, floats of all aggregates)"""
    count: Ints
    key_at: Ints
    row_at: Ints

    @property
    def size(self) -> int:
        return len(self.head)

    def take(self, index: Ints) -> Columns:
        """The rows at `index`, sharing the lists."""
        return Columns(
            self.layout,
            self.numbers,
            self.ids,
            self.head[index],
            self.count[index],
            self.key_at[index],
            self.row_at[index],
        )


def decode(layout: Layout, numbers: Floats, number_starts: Ints, ids: Ints, id_starts: Ints) -> Columns:
    """Columns of n packed rows: row i begins at number_starts[i] in `numbers` and at id_starts[i] in `ids`."""
    plan = _plan(layout)
    head = numbers[number_starts[:, None] + np.arange(plan.head)]
    count = ids[id_starts[:, None] + np.arange(plan.tables)]
    floats = count * plan.widths
    key_at = id_starts[:, None] + plan.tables + np.cumsum(count, 1) - count
    row_at = number_starts[:, None] + plan.head + np.cumsum(floats, 1) - floats
    return Columns(layout, numbers, ids, head, count, key_at, row_at)


def decode_rows(layout: Layout, rows: Sequence[tuple[Sequence[float], Sequence[int]]]) -> Columns:
    """Columns of packed rows (numbers, ids)."""
    if len(rows) == 1:
        start = np.zeros(1, np.int64)
        return decode(layout, np.asarray(rows[0][0], np.float64), start, np.asarray(rows[0][1], np.int64), start)
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
    Raises ValueError above MOST_OWNERS owners.
    """
    plan = _plan(columns.layout)
    closed: dict[str, Floats] = {}
    for group in plan.unkeyed:
        finished = group.kind.finish(columns.head[:, group.slots], now[:, None], group.parameters)
        for values, names in zip(finished, group.names, strict=True):
            spread = values if owner is None else _spread(values, owner)
            closed |= zip(names, spread.T, strict=True)
    for table, kind, name in plan.windows:
        total = _sum_window(columns, table, kind, now)
        closed[name] = total if owner is None else _spread(total, owner)
    if owner is not None and keys is not None and plan.keyed:
        found = _look_up(columns, plan, owner, keys)
        owners_now = _spread(now, owner)
        for tables in plan.keyed:
            head = _spread_slots(columns.head[:, tables.slots], owner)
            rows = found[: tables.width, tables.tables].transpose(1, 2, 0)
            finished = tables.kind.finish(head, rows, owners_now, tables.parameters)
            for values, names in zip(finished, tables.names, strict=True):
                closed |= zip(names, values, strict=True)
    return closed


def _spread_slots(slots: Floats, owner: Ints) -> Floats:
    """Heads (n, k, slots) as (k, rows, slots); of one owner (k, 1, slots)."""
    spread: Floats = (slots if len(slots) == 1 else slots[owner]).transpose(1, 0, 2)
    return spread


def _spread(values: Floats, owner: Ints) -> Floats:
    """The owners' values for each row; of one owner a view."""
    if len(values) == 1:
        return np.broadcast_to(values, (len(owner), *values.shape[1:]))
    spread: Floats = values[owner]
    return spread


def _flat(starts: Ints, count: Ints) -> Ints:
    """Positions starts[i] .. starts[i] + count[i] - 1 of all i, one after another."""
    before = np.cumsum(count) - count
    positions: Ints = np.repeat(starts - before, count) + np.arange(int(count.sum()))
    return positions


def _sum_window(columns: Columns, table: int, kind: Window, now: Floats) -> Floats:
    count = columns.count[:, table]
    row = np.repeat(np.arange(columns.size), count)
    hops = columns.ids[_flat(columns.key_at[:, table], count)]
    amounts = columns.numbers[_flat(columns.row_at[:, table], count)]
    inside = hops >= kind.oldest(now)[row]
    return np.bincount(row, amounts * inside, columns.size).astype(np.float64)


def _look_up(columns: Columns, plan: _Plan, owner: Ints, keys: dict[str, Ints]) -> Floats:
    """The table row of each (table, row's owner and key): (columns, tables, rows), zeros where there is no such key."""
    if columns.size > MOST_OWNERS:
        raise ValueError(f"{columns.size} owners at once; look up at most {MOST_OWNERS} and chunk the rest")
    tables = np.arange(plan.tables)
    count = columns.count.ravel()
    # Keys ascend within a table, and tables stand in the order of their owners: so does what they make together.
    place = np.repeat(np.arange(columns.size)[:, None] * MOST_TABLES + tables, columns.count.ravel())
    have = (place << BITS) | columns.ids[_flat(columns.key_at.ravel(), count)]
    found = np.zeros((int(plan.widths.max()), plan.tables, len(owner)))
    if not len(have):
        return found
    nothing = np.zeros(len(owner), np.int64)
    asked = np.stack([nothing if key is None else keys[key] for key in plan.keys])
    wanted = ((owner * MOST_TABLES + tables[:, None]) << BITS) | asked
    at = np.searchsorted(have, wanted)
    at[at == len(have)] = 0
    table, row = np.nonzero(have[at] == wanted)
    if not len(table):
        return found
    who = owner[row]
    first = (np.cumsum(count) - count).reshape(columns.count.shape)[who, table]
    base = columns.row_at[who, table] + at[table, row] - first
    stride = columns.count[who, table]
    for c in range(len(found)):
        wide = plan.widths[table] > c
        found[c, table[wide], row[wide]] = columns.numbers[base[wide] + c * stride[wide]]
    return found


def slot_of(layout: Layout, name: str) -> int:
    """The place of an aggregate's first float in `Columns.head`."""
    at = 0
    for aggregate in layout.aggregates:
        if aggregate.name == name:
            return at
        at += aggregate.kind.slots
    raise KeyError(name)
