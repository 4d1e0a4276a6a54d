"""Many packed rows at once: decoded together and closed at `now`. Serving one customer and training on a million rows
go through this code alike. Aggregates of one class are closed together: the cost of a decision is its calls of numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.aging import age, fade, since
from features.aggregates.lookups import MOST_OWNERS, close_table, find
from features.aggregates.plan import plan_of
from features.aggregates.rows import Layout, blank, pack

__all__ = ["MOST_OWNERS", "Columns", "close", "decode", "decode_blank", "decode_rows", "slot_of"]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from features.aggregates.aging import Floats
    from features.aggregates.lookups import Found
    from features.aggregates.plan import KeyedGroup

    Ints = NDArray[np.int64]


class Columns(msgspec.Struct, frozen=True):
    """n decoded rows of one view. Table t of row i has `count[t, i]` keys from ids[key_at[t, i]], and its columns, one
    after another, from numbers[row_at[t, i]].
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
        tables = (self.count[:, index], self.key_at[:, index], self.row_at[:, index])
        return Columns(self.layout, self.numbers, self.ids, self.head[index], *tables)


def decode(layout: Layout, numbers: Floats, number_starts: Ints, ids: Ints, id_starts: Ints) -> Columns:
    """Columns of n packed rows: row i begins at number_starts[i] in `numbers` and at id_starts[i] in `ids`."""
    plan = plan_of(layout)
    head = numbers[number_starts[:, None] + plan.head]
    count = ids[id_starts + plan.tables]
    floats = count * plan.widths
    key_at = id_starts + len(plan.tables) + np.cumsum(count, 0) - count
    row_at = number_starts + len(plan.head) + np.cumsum(floats, 0) - floats
    return Columns(layout, numbers, ids, head, count, key_at, row_at)


def decode_rows(layout: Layout, rows: Sequence[tuple[Sequence[float] | Floats, Sequence[int] | Ints]]) -> Columns:
    """Columns of packed rows (numbers, ids)."""
    numbers = [np.asarray(row[0], np.float64) for row in rows] or [np.empty(0)]
    ids = [np.asarray(row[1], np.int64) for row in rows] or [np.empty(0, np.int64)]
    if len(rows) == 1:
        start = np.zeros(1, np.int64)
        return decode(layout, numbers[0], start, ids[0], start)
    starts, id_starts = (_starts([len(part) for part in parts][: len(rows)]) for parts in (numbers, ids))
    return decode(layout, np.concatenate(numbers), starts, np.concatenate(ids), id_starts)


def decode_blank(layout: Layout, size: int = 1) -> Columns:
    """Columns of `size` entities without events."""
    numbers, ids = pack(blank(layout, ""))
    zeros = np.zeros(size, np.int64)
    return decode(layout, np.asarray(numbers, np.float64), zeros, np.asarray(ids, np.int64), zeros)


def _starts(lengths: list[int]) -> Ints:
    return np.cumsum([0, *lengths[:-1]], dtype=np.int64)[: len(lengths)]


def close(
    columns: Columns, now: Floats, owner: Ints | None = None, keys: dict[str, Ints] | None = None
) -> dict[str, Floats]:
    """Every feature of the view at `now`.

    `now` (n,) is the instant of each row of `columns`. Without `owner`, unkeyed features come back as (n,) arrays.
    With `owner` (rows,) and `keys` ("candidate" and "category" -> digests (rows,)), keyed features are looked up for
    pair (owner, key) and come back as (rows,) arrays, as do the unkeyed ones, spread to their owners' rows.
    Raises ValueError above MOST_OWNERS owners.
    """
    plan = plan_of(columns.layout)
    keyed = plan.keyed if owner is not None and keys is not None else ()
    names = plan.names if keyed else plan.unkeyed_names
    closed = np.empty((len(names), columns.size))
    head = columns.head.T[plan.order]
    head[plan.values] = fade(head[plan.values], head[plan.times], now, plan.half_lives)
    head[plan.ages] = since(head[plan.ages], now)
    for at, (table, kind) in enumerate(plan.whole):
        closed[at] = close_table(columns, table, kind, now)
    for group in plan.unkeyed:
        aged = [head[slot] for slot in group.slots]
        _put(closed, group.first, group.size, group.kind.finish(aged, group.parameters))
    heads = [[head[slot] for slot in table_group.slots] for table_group in keyed]
    for table_group, own in zip(keyed, heads, strict=True):
        # What is said of a key that the owner does not have. Most keys are such, so that the rest is little work.
        absent = table_group.kind.finish(own, table_group.absent, table_group.parameters)
        _put(closed, table_group.first, table_group.size, absent)
    if owner is None:
        return dict(zip(names, closed, strict=True))
    spread = closed.repeat(len(owner), 1) if columns.size == 1 else closed[:, owner]
    if keyed and keys is not None:
        for table_group, own, found in zip(keyed, heads, find(columns, plan, owner, keys), strict=True):
            _put_found(spread, table_group, own, found, now)
    return dict(zip(names, spread, strict=True))


def _put(closed: Floats, first: int, count: int, finished: tuple[Floats, ...]) -> None:
    for values in finished:
        closed[first : first + count] = values
        first += count


def _put_found(spread: Floats, group: KeyedGroup, heads: list[Floats], found: Found, now: Floats) -> None:
    """Close the group for the keys that are there; `heads` are aged."""
    which, who = found.which, found.who
    if not len(which):
        return
    parameters = {name: values[which, 0] for name, values in group.parameters.items()}
    aged = age(group.kind.key_roles, found.states, now[who], parameters)
    own = [head[which, who] for head in heads]
    for at, values in enumerate(group.kind.finish(own, aged, parameters)):
        spread[group.first + at * group.size + which, found.row] = values


def slot_of(layout: Layout, name: str) -> int:
    """The place of an aggregate's first float in the packed numbers."""
    at = 0
    for aggregate in layout.aggregates:
        if aggregate.name == name:
            return at
        at += aggregate.kind.slots
    raise KeyError(name)
