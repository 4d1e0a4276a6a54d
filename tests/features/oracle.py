"""The naive oracle: every declared feature computed from the plain list of events, without states.

It knows the declarations and their parameters, and shares no arithmetic with the code under test. True while no bounded
table is full.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from features.aggregates import columns
from features.aggregates.declared import ANY, CANDIDATE, CUSTOMER, SUCCESSORS, TOTAL, Aggregate
from features.aggregates.engine import Candidates, advance_candidates, advance_customer
from features.aggregates.keyed import Affinity, History, KeyedKind
from features.aggregates.kinds import Decayed, FirstSeen, Last, Mean, Rate, Recency
from features.aggregates.rows import LAYOUTS, Row, blank, pack
from features.aggregates.windows import Distinct, Whole, Window
from features.events.occurrences import Occurrence, read
from features.ids import digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from features.events.schema import Event

Features = dict[str, float]


class Oracle:
    """All events of the world, in the order of their arrival within each customer."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.seen = [(event.customer, seen) for event in events if event.customer and (seen := read(event))]

    @property
    def customers(self) -> set[str]:
        return {customer for customer, _ in self.seen}

    @property
    def candidates(self) -> set[str]:
        return {item.text for _, seen in self.seen for item in seen.items}

    def customer(self, customer: str, now: float, candidate: str = "", category: str = "") -> Features:
        """Features of a customer, with those of the pair with a candidate and a category."""
        own = [seen for who, seen in self.seen if who == customer]
        keys = {"candidate": digest(candidate), "category": digest(category)}
        return close_all(CUSTOMER, own, now, keys)

    def candidate(self, candidate: str, now: float) -> Features:
        about = [seen for _, seen in self.seen if candidate == TOTAL or candidate in {item.text for item in seen.items}]
        return close_all(CANDIDATE, about, now, {})

    def successors(self, before: str, candidate: str, now: float) -> Features:
        """Features of `candidate` following `before`."""
        followed = [
            Occurrence(seen.name, seen.time, tuple(item for item in seen.items if item.text != before))
            for place, (customer, seen) in enumerate(self.seen)
            if seen.name == "Product Viewed" and self.last_viewed(customer, place) == before
        ]
        return close_all(SUCCESSORS, followed, now, {"candidate": digest(candidate)})

    def last_viewed(self, customer: str, place: int | None = None) -> str | None:
        """The item that the customer viewed latest, of the first `place` events."""
        views = [
            (seen.time, order, seen.items[-1].text)
            for order, (who, seen) in enumerate(self.seen[:place])
            if who == customer and seen.name == "Product Viewed" and seen.items
        ]
        return max(views)[2] if views else None


def close_all(aggregates: tuple[Aggregate, ...], seen: list[Occurrence], now: float, keys: dict[str, int]) -> Features:
    """Features of any declarations over the events of one entity."""
    features: Features = {}
    for aggregate in aggregates:
        groups = [[one for one in seen if one.name in names or ANY in names] for names in aggregate.events]
        if isinstance(aggregate.kind, KeyedKind) and not isinstance(aggregate.kind, Whole):
            assert aggregate.key is not None
            values = _keyed(aggregate, groups[0], now, keys[aggregate.key])
        else:
            values = [_unkeyed(aggregate, groups, now)]
        features.update(zip(aggregate.outputs, values, strict=True))
    return features


def _decayed(parts: Iterable[tuple[float, float]], now: float, half_life: float) -> float:
    return math.fsum(amount * 0.5 ** ((now - time) / half_life) for time, amount in parts)


def _amount(aggregate: Aggregate, one: Occurrence) -> float:
    return {"one": 1.0, "items": float(len(one.items)), "revenue": one.revenue}[aggregate.value]


def _keys(aggregate: Aggregate, one: Occurrence) -> list[int]:
    ids = [item.id if aggregate.key == "candidate" else item.category for item in one.items]
    return [key for key in ids if key]


def distinct(kind: Distinct, named: Iterable[tuple[float, int]], now: float) -> float:
    """How many keys (time, key) there are in the window: all of them, or what the (bound + 1)th smallest tells."""
    smallest = sorted({key for time, key in named if time > now - kind.length})
    if len(smallest) <= kind.bound:
        return float(len(smallest))
    return kind.bound / (smallest[kind.bound] / 2**48)


def _remembered(aggregate: Aggregate, one: Occurrence) -> list[int]:
    if aggregate.value == "candidate":
        return [item.id for item in one.items]
    return [item.category for item in one.items if item.category]


def _unkeyed(aggregate: Aggregate, groups: list[list[Occurrence]], now: float) -> float:
    kind, seen = aggregate.kind, groups[0]
    if isinstance(kind, Last):
        parts = [(one.time, order, ids[-1]) for order, one in enumerate(seen) if (ids := _remembered(aggregate, one))]
        return float(max(parts)[2]) if parts else 0.0
    if isinstance(kind, Rate):
        hits, tries = (_decayed([(one.time, 1.0) for one in group], now, kind.half_life) for group in groups)
        return (hits + kind.strength * kind.prior) / (tries + kind.strength)
    if isinstance(kind, Distinct):
        named = [(one.time, key) for one in seen for key in _keys(aggregate, one)]
        return distinct(kind, named, now)
    amounts = [(one.time, _amount(aggregate, one)) for one in seen]
    if isinstance(kind, Decayed):
        return _decayed(amounts, now, kind.half_life)
    if isinstance(kind, Mean):
        count = _decayed([(time, 1.0) for time, _ in amounts], now, kind.half_life)
        return _decayed(amounts, now, kind.half_life) / count if seen else math.nan
    if isinstance(kind, Window):
        return math.fsum(amount for time, amount in amounts if time // kind.hop >= (now - kind.length) // kind.hop)
    times = [now - one.time for one in seen]
    assert isinstance(kind, Recency | FirstSeen)
    return (min if isinstance(kind, Recency) else max)(times, default=math.nan)


def _keyed(aggregate: Aggregate, seen: list[Occurrence], now: float, key: int) -> list[float]:
    kind = aggregate.kind
    named = [(one.time, keys) for one in seen if (keys := _keys(aggregate, one))]
    if isinstance(kind, Affinity):
        level = _decayed([(time, keys.count(key)) for time, keys in named], now, kind.half_life)
        total = _decayed([(time, len(keys)) for time, keys in named], now, kind.half_life)
        return [level, level / (total + kind.strength)]
    assert isinstance(kind, History)
    places = [place for place, (_, keys) in enumerate(named, 1) if key in keys]
    recency = min((now - time for time, keys in named if key in keys), default=math.nan)
    since = len(named) - places[-1] if places else math.nan
    return [float(len(places)), float(len(named)), recency, since]


def advance(events: list[Event]) -> tuple[dict[str, Row], Candidates]:
    """The states that the events lead to; arrival is the event's number."""
    customers: dict[str, Row] = {}
    candidates = Candidates()
    for arrival, event in enumerate(events, 1):
        if not event.customer or (seen := read(event)) is None:
            continue
        row = customers.setdefault(event.customer, blank(LAYOUTS["customer"], event.customer))
        advance_candidates(candidates, row, seen, arrival)
        advance_customer(row, seen)
        row.applied = arrival
    return customers, candidates


def close(view: str, row: Row | None, now: float, candidate: str = "", category: str = "") -> Features:
    """Features of one row and one pair of keys."""
    layout = LAYOUTS[view]
    decoded = columns.decode_blank(layout) if row is None else columns.decode_rows(layout, [pack(row)])
    keys = {"candidate": np.array([digest(candidate)]), "category": np.array([digest(category)])}
    closed = columns.close(decoded, np.array([now]), np.zeros(1, np.int64), keys)
    return {name: float(value[0]) for name, value in closed.items()}


def approximately(expected: Features) -> Any:
    return pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)
