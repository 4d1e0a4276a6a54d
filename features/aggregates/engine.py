"""Events into states: which aggregates an occurrence touches, on the customer, candidates, and what followed what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from features.aggregates.declared import ANY, TOTAL, VIEWS, Aggregate
from features.aggregates.keyed import KeyedKind
from features.aggregates.kinds import Last
from features.aggregates.rows import LAYOUTS, Row, blank
from features.ids import NOTHING, digest

if TYPE_CHECKING:
    from features.events.occurrences import Occurrence

TOTAL_ID = digest(TOTAL)


class _Touch(msgspec.Struct, frozen=True):
    """One aggregate that an event of some name updates: its place in the row, and the event's group."""

    at: int
    aggregate: Aggregate
    part: int


def _touches(aggregates: tuple[Aggregate, ...]) -> dict[str, tuple[_Touch, ...]]:
    """Event name -> what it updates, with ANY for names not declared."""
    named = {name for aggregate in aggregates for group in aggregate.events for name in group}
    return {
        name: tuple(
            _Touch(at, aggregate, part)
            for at, aggregate in enumerate(aggregates)
            for part, group in enumerate(aggregate.events)
            if name in group or ANY in group
        )
        for name in named | {ANY}
    }


_TOUCHES = {view: _touches(aggregates) for view, aggregates in VIEWS.items()}
_LAST_SEEN = {
    aggregate.events: at
    for at, aggregate in enumerate(VIEWS["customer"])
    if isinstance(aggregate.kind, Last) and aggregate.value == "candidate"
}
"""Where a customer's row keeps the last candidate of a group of events: what a transition starts from."""


def advance_customer(row: Row, occurrence: Occurrence) -> None:
    """Update a customer's states by one event, in place."""
    touches = _TOUCHES["customer"]
    items, time = occurrence.items, occurrence.time
    ids = tuple(item.id for item in items)
    categories = tuple(item.category for item in items if item.category != NOTHING)
    for touch in touches.get(occurrence.name, touches[ANY]):
        aggregate = touch.aggregate
        keys = ids if aggregate.key == "candidate" else categories if aggregate.key == "category" else ()
        if aggregate.key is not None and not keys:
            continue
        if aggregate.value == "one":
            amount = 1.0
        elif aggregate.value == "revenue":
            amount = occurrence.revenue
        elif aggregate.value == "items":
            amount = float(len(items))
        else:
            remembered = ids if aggregate.value == "candidate" else categories
            if not remembered:
                continue
            amount = float(remembered[-1])
        _update(touch, row, time, amount, keys)


def _update(touch: _Touch, row: Row, time: float, amount: float, keys: tuple[int, ...]) -> None:
    kind = touch.aggregate.kind
    if isinstance(kind, KeyedKind):
        kind.update(row.states[touch.at], time, amount, keys)  # type: ignore[arg-type]  # a state is of its kind
    else:
        kind.update(row.states[touch.at], time, amount, touch.part)  # type: ignore[arg-type]  # as above


class Candidates(msgspec.Struct):
    """The candidate states of one partition (or of all, in replay), by digest of the candidate's id."""

    candidate: dict[int, Row] = {}
    successors: dict[int, Row] = {}

    def row(self, view: str, key: int, text: str) -> Row:
        rows = self.candidate if view == "candidate" else self.successors
        found = rows.get(key)
        if found is None:
            found = rows[key] = blank(LAYOUTS[view], text)
        return found


def advance_candidates(
    candidates: Candidates, customer: Row, occurrence: Occurrence, arrival: int
) -> list[tuple[str, int]]:
    """Update the candidates that an event names, in place; before `advance_customer`, whose last item it reads.

    Returns the (view, digest) of each row that changed.
    """
    changed: list[tuple[str, int]] = []
    touches = _TOUCHES["candidate"]
    touched = touches.get(occurrence.name, touches[ANY])
    named = [(item.id, item.text) for item in occurrence.items]
    for key, text in [*named, (TOTAL_ID, TOTAL)]:
        row = candidates.row("candidate", key, text)
        for touch in touched:
            _update(touch, row, occurrence.time, 1.0, ())
        row.applied = arrival
        changed.append(("candidate", key))
    for touch in _TOUCHES["successors"].get(occurrence.name, ()):
        last = customer.states[_LAST_SEEN[touch.aggregate.events]]
        before = int(last[0])  # type: ignore[index]  # the state of a Last is a list
        after = tuple(key for key, _ in named if key != before)
        known = candidates.candidate.get(before)
        if known is None or not after:
            continue
        row = candidates.row("successors", before, known.text)
        _update(touch, row, occurrence.time, 1.0, after)
        row.applied = arrival
        changed.append(("successors", before))
    return changed
