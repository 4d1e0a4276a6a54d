"""Events into states: which aggregates an occurrence touches, on the customer, candidates, and what followed what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from features.aggregates.declared import ANY, TOTAL, VIEWS, Aggregate
from features.aggregates.keyed import KeyedKind
from features.aggregates.kinds import Last
from features.aggregates.rows import LAYOUTS, Row, blank
from features.ids import NOTHING, digest
from features.reserved import CANARY

if TYPE_CHECKING:
    from collections.abc import Callable

    from features.events.occurrences import Occurrence

TOTAL_ID = digest(TOTAL)


class _Touch(msgspec.Struct, frozen=True):
    """One aggregate that an event of some name updates: what its declaration says, at hand."""

    at: int
    """Its place in the row."""
    update: Callable[..., None]
    part: int | None
    """The event's group; None for keyed kinds, which take keys instead."""
    key: str | None
    value: str


def _touches(aggregates: tuple[Aggregate, ...]) -> dict[str, tuple[_Touch, ...]]:
    """Event name -> what it updates, with ANY for names not declared."""
    named = {name for aggregate in aggregates for group in aggregate.events for name in group}
    return {
        name: tuple(
            _touch(at, aggregate, part)
            for at, aggregate in enumerate(aggregates)
            for part, group in enumerate(aggregate.events)
            if name in group or ANY in group
        )
        for name in named | {ANY}
    }


def _touch(at: int, aggregate: Aggregate, part: int) -> _Touch:
    kind = aggregate.kind
    return _Touch(at, kind.update, None if isinstance(kind, KeyedKind) else part, aggregate.key, aggregate.value)


TOUCHES = {view: _touches(aggregates) for view, aggregates in VIEWS.items()}
LAST_SEEN = {
    aggregate.events: at
    for at, aggregate in enumerate(VIEWS["customer"])
    if isinstance(aggregate.kind, Last) and aggregate.value == "candidate"
}
"""Events -> where a customer's row keeps the last candidate of them."""
FOLLOWED = {
    name: tuple((touch, LAST_SEEN[VIEWS["successors"][touch.at].events]) for touch in touches)
    for name, touches in TOUCHES["successors"].items()
}
"""Event name -> what it updates, and where a customer's row keeps the last candidate of such events: what preceded."""


def advance_customer(row: Row, occurrence: Occurrence) -> None:
    """Update a customer's states by one event, in place."""
    touches = TOUCHES["customer"]
    items, time, states = occurrence.items, occurrence.time, row.states
    ids = tuple([item.id for item in items])
    categories = tuple([item.category for item in items if item.category != NOTHING])
    keys: tuple[int, ...]
    for touch in touches.get(occurrence.name, touches[ANY]):
        keys = ()
        if touch.key is not None:
            keys = ids if touch.key == "candidate" else categories
            if not keys:
                continue
        if touch.value == "one":
            amount = 1.0
        elif touch.value == "revenue":
            amount = occurrence.revenue
        elif touch.value == "items":
            amount = float(len(items))
        else:
            remembered = ids if touch.value == "candidate" else categories
            if not remembered:
                continue
            amount = float(remembered[-1])
        touch.update(states[touch.at], time, amount, keys if touch.part is None else touch.part)


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
    if customer.text == CANARY:
        return []
    changed: list[tuple[str, int]] = []
    touches = TOUCHES["candidate"]
    touched, time = touches.get(occurrence.name, touches[ANY]), occurrence.time
    named = [(item.id, item.text) for item in occurrence.items]
    for key, text in [*named, (TOTAL_ID, TOTAL)]:
        row = candidates.row("candidate", key, text)
        states = row.states
        for touch in touched:
            touch.update(states[touch.at], time, 1.0, touch.part)
        row.applied = arrival
        changed.append(("candidate", key))
    for touch, last_at in FOLLOWED.get(occurrence.name, ()):
        last = customer.states[last_at]
        before = int(last[0])  # type: ignore[index]  # the state of a Last is a list
        after = tuple([key for key, _ in named if key != before])
        known = candidates.candidate.get(before)
        if known is None or not after:
            continue
        row = candidates.row("successors", before, known.text)
        touch.update(row.states[touch.at], time, 1.0, after)
        row.applied = arrival
        changed.append(("successors", before))
    return changed
