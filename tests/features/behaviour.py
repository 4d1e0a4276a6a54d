"""Random behaviour of a few visitors of a small shop: what the tests of the features feed on."""

from __future__ import annotations

import random
from typing import Any

from features.events.schema import Event, Identify, Page, Track

SECOND = 1_000_000
DAY = 86_400 * SECOND
CUSTOMERS = ["ann", "bob", "cleo", "dan", "eve", "finn"]
"""Of all partitions, where there are three."""
PRODUCTS = {f"p-{number}": ("shoes", "hats", "coats", None)[number % 4] for number in range(12)}
PROMOTIONS = [f"o-{number}" for number in range(5)]


def behave(seed: int, size: int, end: int, late: float = 0.2) -> list[Event]:
    """`size` events up to `end` (microseconds), by arrival; a share of `late` happened up to two days before."""
    chance = random.Random(seed)
    span = chance.choice([SECOND, 3600 * SECOND, DAY, 60 * DAY])
    arrivals = sorted(end - chance.randrange(span) for _ in range(size))
    return [_event(chance, number, at, late) for number, at in enumerate(arrivals)]


def _event(chance: random.Random, number: int, arrival: int, late: float) -> Event:
    time = arrival - (chance.randrange(2 * DAY) if chance.random() < late else 0)
    common: dict[str, Any] = {
        "message_id": f"m-{number}",
        "customer": chance.choice([*CUSTOMERS[: 1 + chance.randrange(6)], ""] if chance.random() < 0.1 else CUSTOMERS),
        "time": time,
        "received": arrival,
    }
    draw = chance.random()
    if draw < 0.05:
        return Page(**common, name="Home")
    if draw < 0.1:
        return Identify(**common, traits={"email": "x@example.org"})
    if draw < 0.5:
        viewed = chance.sample(list(PRODUCTS), k=1 + (chance.random() < 0.2))
        views = [{"product_id": product, "category": PRODUCTS[product]} for product in viewed]
        properties: dict[str, Any] = {"products": views} if len(views) > 1 else {**views[0]}
        return Track(**common, event="Product Viewed", properties=properties)
    if draw < 0.6:
        return Track(**common, event="Product Added", properties={"product_id": chance.choice(list(PRODUCTS))})
    if draw < 0.75:
        products = chance.choices(list(PRODUCTS), k=1 + chance.randrange(4))
        lines = [
            {"product_id": product, "category": PRODUCTS[product], "quantity": 2, "price": 3.5} for product in products
        ]
        revenue: Any = chance.choice([7.0 * len(lines), "12.5", None])
        return Track(**common, event="Order Completed", properties={"products": lines, "revenue": revenue})
    if draw < 0.95:
        kind = chance.random()
        name = "Promotion Viewed" if kind < 0.6 else "Promotion Clicked" if kind < 0.85 else "Promotion Declined"
        promotion = chance.choice(PROMOTIONS)
        return Track(
            **common, event=name, properties={"promotion_id": promotion, "category": "hats", "decision_id": "d"}
        )
    return Track(**common, event=chance.choice(["Searched", "Product Viewed"]), properties={"query": "boots"})
