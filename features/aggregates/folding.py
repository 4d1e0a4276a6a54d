"""The whole-history form of each kind: states of many entities from all their events at once.

What comes out is what the streaming form gives, to the bit. A kind that has no such form here, and an entity whose
table overflows, go through the streaming form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from features.aggregates.aging import BEGINNING
from features.aggregates.keyed import Affinity, History, Transition
from features.aggregates.kinds import Decayed, FirstSeen, Last, Mean, Rate, Recency
from features.aggregates.runs import Runs
from features.aggregates.stepping import Folded, Named, empty, redo, step
from features.aggregates.windows import Distinct, Sum, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from features.aggregates.aging import Floats
    from features.aggregates.keyed import KeyedKind
    from features.aggregates.kinds import Kind
    from features.aggregates.runs import Ints


def fold(kind: Kind, parts: Sequence[Runs]) -> Floats:
    """States (size, slots) of a kind without keys; `parts` are the events of each of its groups."""
    form = FORMS.get(type(kind))
    return step(kind, parts) if form is None else np.stack(form(kind, parts), axis=1)


def fold_keyed(kind: KeyedKind, named: Named) -> Folded:
    """States of a keyed kind."""
    form = KEYED_FORMS.get(type(kind))
    size = named.events.size
    if form is None:
        folded, left = empty(kind, size), named.events.present
    else:
        folded, left = form(kind, named)
    return redo(kind, named, folded, left, form is not None) if len(left) else folded


def _latest(parts: Sequence[Runs]) -> Floats:
    runs = parts[0]
    return runs.spread(np.maximum(runs.latest[runs.present], BEGINNING))


def _earliest(parts: Sequence[Runs]) -> Floats:
    runs = parts[0]
    return runs.spread(np.maximum(runs.earliest()[runs.present], BEGINNING))


def _mean(kind: Any, parts: Sequence[Runs]) -> list[Floats]:
    runs = parts[0]
    ones = np.ones(len(runs.entity))
    return [runs.decay(kind.half_life), runs.decay(kind.half_life, ones), runs.latest]


def _last(_kind: Any, parts: Sequence[Runs]) -> list[Floats]:
    runs = parts[0]
    place = runs.leading[runs.starts + runs.lengths - 1]
    held = place >= 0
    return [runs.spread(np.where(held, values[place], 0.0)) for values in (runs.amount, runs.time)]


FORMS: dict[type[Kind], Callable[[Any, Sequence[Runs]], list[Floats]]] = {
    Decayed: lambda kind, parts: [parts[0].decay(kind.half_life), parts[0].latest],
    Mean: _mean,
    Rate: lambda kind, parts: [
        one for runs in parts for one in (runs.decay(kind.half_life, np.ones(len(runs.entity))), runs.latest)
    ],
    Recency: lambda _kind, parts: [_latest(parts)],
    FirstSeen: lambda _kind, parts: [_earliest(parts)],
    Last: _last,
}


def _group(named: Named) -> tuple[Ints, Ints, Ints, Ints]:
    """Order of the names by entity and key, then as they came; where each pair begins; its entity and its key."""
    entity = named.events.entity[named.event]
    order = np.lexsort((named.key, entity))
    who, key = entity[order], named.key[order]
    starts = np.flatnonzero((np.diff(who, prepend=-1) != 0) | (np.diff(key, prepend=-1) != 0))
    return order, starts, who[starts], key[starts]


def _overflowing(entity: Ints, size: int, most: int) -> Ints:
    return np.flatnonzero(np.bincount(entity, minlength=size) > most)


def _affinity(kind: Affinity, named: Named) -> tuple[Folded, Ints]:
    events = named.events
    amounts = events.amount[named.event]
    all_of = Runs(events.entity[named.event], events.rank[named.event], events.times, amounts, events.size)
    order, starts, entity, key = _group(named)
    pair = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
    of_pair = Runs(pair, all_of.rank[order], events.times, amounts[order], len(starts))
    head = np.stack([all_of.decay(kind.half_life), all_of.latest], axis=1)
    first = of_pair.time[starts]
    latest = np.maximum.reduceat(of_pair.time, starts) if len(starts) else first
    # A key's row begins as of its first event, also where that was before the epoch: leave those to the streaming form.
    early = entity[first < 0]
    rows = np.stack([of_pair.decay(kind.half_life), latest], axis=1)
    left = np.union1d(_overflowing(entity, events.size, kind.bound), early)
    return Folded(head, entity, key, rows), left


def _history(kind: History, named: Named) -> tuple[Folded, Ints]:
    events = named.events
    hit, at = np.unique(named.event, return_inverse=True)
    who = events.entity[hit]
    counts = np.bincount(who, minlength=events.size)
    number = np.arange(len(hit)) - (np.cumsum(counts) - counts)[who] + 1
    order, starts, entity, key = _group(named)
    pair = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
    times, numbers = events.time[named.event[order]], number[at[order]]
    columns = [
        np.bincount(pair, events.amount[named.event[order]], len(starts)),
        np.maximum.reduceat(times, starts) if len(starts) else times,
        (np.maximum.reduceat(numbers, starts) if len(starts) else numbers).astype(np.float64),
    ]
    folded = Folded(counts.astype(np.float64)[:, None], entity, key, np.stack(columns, axis=1))
    return folded, _overflowing(entity, events.size, kind.bound)


def _window(kind: Window, named: Named) -> tuple[Folded, Ints]:
    events = named.events
    hop = np.maximum(np.floor_divide(events.time, kind.hop), 0.0).astype(np.int64)
    order, starts, entity, key = _group(Named(events, np.arange(len(hop)), hop))
    pair = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
    sums = np.bincount(pair, events.amount[order], len(starts)).astype(np.float64)
    newest = np.zeros(events.size, np.int64)
    np.maximum.at(newest, entity, key)
    kept = key >= newest[entity] - int(-(-kind.length // kind.hop)) - 1
    return Folded(np.zeros((events.size, 0)), entity[kept], key[kept], sums[kept][:, None]), np.empty(0, np.int64)


def _distinct(kind: Distinct, named: Named) -> tuple[Folded, Ints]:
    events = named.events
    order, starts, entity, key = _group(named)
    times = events.time[named.event[order]]
    latest = np.maximum.reduceat(times, starts) if len(starts) else times
    newest = np.full(events.size, -np.inf)
    np.maximum.at(newest, entity, latest)
    kept = latest > newest[entity] - kind.length
    folded = Folded(np.zeros((events.size, 0)), entity[kept], key[kept], latest[kept][:, None])
    return folded, _overflowing(entity, events.size, kind.bound + 1)


KEYED_FORMS: dict[type[KeyedKind], Callable[[Any, Named], tuple[Folded, Ints]]] = {
    Affinity: _affinity,
    Transition: _affinity,
    History: _history,
    Window: _window,
    Sum: _window,
    Distinct: _distinct,
}
"""Each answers with the states, and the entities whose states it leaves to the streaming form."""
