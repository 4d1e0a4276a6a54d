"""What features look at in an event: its name, its time, the candidates in it and their amounts.

Refuses nothing: a property of the wrong type counts as absent, since intake keeps properties as they came.
"""

from __future__ import annotations

from typing import Any

import msgspec

from features.events.schema import Event, Page, Screen, Skimmed, Track
from features.ids import digest

LONGEST_ID = 256
LARGEST = 1e15
"""Amounts beyond it count as absent, so that sums of them stay finite and exact enough."""


class Item(msgspec.Struct, frozen=True):
    """One candidate or product named by an event."""

    text: str
    id: int
    """`digest` of the text."""
    category: int
    """`digest` of the category's name; `ids.NOTHING` if none was given."""
    quantity: float = 1.0
    price: float = 0.0


class Occurrence(msgspec.Struct, frozen=True):
    """One event as the aggregates see it; `time` in seconds since the epoch."""

    name: str
    time: float
    items: tuple[Item, ...] = ()
    """Each candidate once, in the order of first mention."""
    revenue: float = 0.0


class Exposure(msgspec.Struct, frozen=True):
    """A candidate of a decision was seen."""

    customer: str
    decision_id: str
    placement: str
    candidate: str
    time: int
    """Microseconds since the epoch."""


def read_exposure(event: Event | Skimmed) -> Exposure | None:
    """The exposure that an event tells of; None for other events, and for those that name no decision."""
    if not isinstance(event, Track) or event.event != "Promotion Viewed":
        return None
    key = key_of(event.properties)
    return Exposure(event.customer, *key, event.time) if all(key) else None


def key_of(properties: dict[str, Any]) -> tuple[str, str, str]:
    """Decision, placement and candidate that a promotion event names; empty texts for what it does not name."""
    return (
        identifier(properties.get("decision_id")),
        identifier(properties.get("placement")),
        identifier(properties.get("promotion_id")),
    )


def number(value: Any) -> float:
    """A float of a JSON value (numeric text included) up to LARGEST either way, else 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 0.0
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return parsed if abs(parsed) <= LARGEST else 0.0


def identifier(value: Any) -> str:
    """An id of a JSON value (numbers become text), else the empty text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and len(value) <= LONGEST_ID else ""


def read(event: Event | Skimmed) -> Occurrence | None:
    """What `event` tells the aggregates; None for events that carry no behaviour (identify, decision, ...)."""
    if isinstance(event, Track):
        name = event.event
    elif isinstance(event, (Page, Screen)):
        name = "Page Viewed" if isinstance(event, Page) else "Screen Viewed"
    else:
        return None
    return look(name, event.time, event.properties)


def look(name: str, time: int, properties: dict[str, Any]) -> Occurrence:
    """What an event of that name tells the aggregates by its properties; `time` in microseconds."""
    products = properties.get("products")
    entries = products if isinstance(products, list) and products else [properties]
    items: dict[str, Item] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        text = identifier(entry.get("promotion_id") if name.startswith("Promotion") else entry.get("product_id"))
        text = text or identifier(entry.get("sku"))
        if not text:
            continue
        quantity = number(entry.get("quantity")) or 1.0
        if (earlier := items.get(text)) is not None:
            quantity = number(quantity + earlier.quantity)
        category = digest(identifier(entry.get("category")))
        items[text] = Item(text, digest(text), category, quantity, number(entry.get("price")))
    revenue = next((number(properties[name]) for name in ("revenue", "total", "value") if name in properties), 0.0)
    return Occurrence(name, time / 1e6, tuple(items.values()), revenue)
