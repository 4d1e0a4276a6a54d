"""Traits of customers, as identify events tell them: of each trait the latest value, so many at most. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from features.events.schema import Identify

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from features.events.schema import Event, Skimmed

MOST, LONGEST = 50, 256
"""Traits of a customer, the latest ones; and bytes of a name with its value in JSON. What is longer is passed over."""

Traits = dict[str, tuple[int, Any]]
"""Name -> when it was told (microseconds), and the value; null takes a trait back."""


def is_telling(event: Event | Skimmed | None) -> bool:
    """Whether an event tells traits of its customer, and joins nobody: those of one that does are sent on."""
    return isinstance(event, Identify) and bool(event.traits) and event.user_id in (None, "", event.customer)


def take_in(said: Traits, event: Identify) -> Traits:
    """With what an event tells."""
    return merge(said, {name: (event.time, value) for name, value in event.traits.items() if _fits(name, value)})


def collect(events: Iterable[Event], but: Container[str]) -> dict[str, Traits]:
    """Customer -> traits, of all `but` some."""
    said: dict[str, Traits] = {}
    for event in events:
        if isinstance(event, Identify) and is_telling(event) and event.customer not in but:
            said[event.customer] = take_in(said.get(event.customer, {}), event)
    return said


def merge(one: Traits, other: Traits) -> Traits:
    """What counts of two ids that are one customer: of each trait the latest value, whichever comes first."""
    both = one | other
    for name in one.keys() & other.keys():
        both[name] = max(one[name], other[name], key=_order)
    if len(both) <= MOST:
        return both
    latest = sorted(both, key=lambda name: (both[name][0], name), reverse=True)[:MOST]
    return {name: both[name] for name in latest}


def tell(said: Mapping[str, tuple[int, Any]], events: Iterable[Event]) -> dict[str, Any]:
    """As rules and templates read them, with those of events that have come just now."""
    told = dict(said)
    for event in events:
        if isinstance(event, Identify):
            told = take_in(told, event)
    return values(told)


def values(said: Mapping[str, tuple[int, Any]]) -> dict[str, Any]:
    """As rules and templates read them."""
    return {name: value for name, (_, value) in said.items() if value is not None}


def send_on(event: Identify, target: str, hop: tuple[str, int]) -> Identify:
    """The traits that an event told beside joining its id (`hop`: that, and the link's arrival) to `target`."""
    return Identify(
        message_id=f"traits:{event.message_id}",
        customer=target,
        time=event.time,
        received=event.received,
        traits=event.traits,
        via=[*event.via, hop],
    )


def _order(told: tuple[int, Any]) -> tuple[int, bytes]:
    return told[0], msgspec.json.encode(told[1])


def _fits(name: str, value: Any) -> bool:
    return len(msgspec.json.encode((name, value))) <= LONGEST
