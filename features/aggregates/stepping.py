"""States one event after another, where the whole-history form of a kind does not reach: its streaming form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.keyed import Affinity, History
from features.aggregates.overflow import run_affinity, run_history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.aggregates.aging import Floats
    from features.aggregates.keyed import KeyedKind
    from features.aggregates.kinds import Kind
    from features.aggregates.overflow import Stream
    from features.aggregates.runs import Ints, Runs


class Named(msgspec.Struct, frozen=True):
    """The events of a keyed aggregate: each adds its amount to every key that it names."""

    events: Runs
    event: Ints
    """Of each key that was named, ascending: the place of its event in `events`."""
    key: Ints


class Folded(msgspec.Struct, frozen=True):
    """States of n entities: floats of their own (n, slots), and the rows of their tables, by entity, then by key."""

    head: Floats
    entity: Ints
    key: Ints
    rows: Floats
    """(rows, columns)"""


def step(kind: Kind, parts: Sequence[Runs]) -> Floats:
    """One event after another; the groups of a kind that is told them apart must not depend on each other's order."""
    states = np.zeros((parts[0].size, kind.slots))
    for part, runs in enumerate(parts):
        for start, length in zip(runs.starts.tolist(), runs.lengths.tolist(), strict=True):
            state = states[runs.entity[start]].tolist()
            for at in range(start, start + length):
                kind.update(state, float(runs.time[at]), float(runs.amount[at]), part)
            states[runs.entity[start]] = state
    return states


def empty(kind: KeyedKind, size: int) -> Folded:
    nothing = np.empty(0, np.int64)
    return Folded(np.zeros((size, kind.slots)), nothing, nothing, np.empty((0, kind.columns)))


def redo(kind: KeyedKind, named: Named, folded: Folded, left: Ints, formed: bool) -> Folded:
    """With the states of some entities made one event after another; `formed`: their heads are right already."""
    kept = ~np.isin(folded.entity, left)
    head = folded.head.copy()
    entity, key, rows = [folded.entity[kept]], [folded.key[kept]], [folded.rows[kept]]
    for one in left.tolist():
        table = _run(kind, named, one, head, formed)
        entity.append(np.full(len(table), one))
        key.append(np.fromiter(table, np.int64, len(table)))
        rows.append(np.array(list(table.values()), np.float64).reshape(-1, kind.columns))
    whole, keys = np.concatenate(entity), np.concatenate(key)
    order = np.lexsort((keys, whole))
    return Folded(head, whole[order], keys[order], np.concatenate(rows)[order])


def _run(kind: KeyedKind, named: Named, entity: int, head: Floats, formed: bool) -> dict[int, list[float]]:
    """The rows of an entity's table, whose head goes to where the others are."""
    stream = _events_of(kind, named, entity)
    if formed and isinstance(kind, Affinity):
        return run_affinity(kind, stream)
    if formed and isinstance(kind, History):
        return run_history(kind, stream)
    state = kind.empty()
    for time, amount, keys in stream:
        kind.update(state, time, amount, keys)
    head[entity] = state.head
    return state.rows


def _events_of(kind: KeyedKind, named: Named, entity: int) -> Stream:
    """(time, amount, keys) of an entity's events."""
    events = named.events
    start, end = np.searchsorted(events.entity, [entity, entity + 1]).tolist()
    first, last = np.searchsorted(named.event, [start, end]).tolist()
    at, starts = np.unique(named.event[first:last], return_index=True)
    keys = named.key[first:last].tolist()
    begins = starts.tolist()
    return [
        (time, amount, tuple(keys[begin:end]) if kind.takes_key else ())
        for time, amount, begin, end in zip(
            events.time[at].tolist(), events.amount[at].tolist(), begins, [*begins[1:], len(keys)], strict=True
        )
    ]
