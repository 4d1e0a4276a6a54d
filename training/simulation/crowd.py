"""The crowd: many visits at once over the service's HTTP API, and probes that measure how soon an event counts."""

from __future__ import annotations

import asyncio
import itertools
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from training.simulation.catalog import EXPERIMENT
from training.simulation.visit import visit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from training.simulation.client import Client
    from training.simulation.figures import Ledger
    from training.simulation.visit import Happening, Page
    from training.simulation.world import Counts, Offer, World

PAUSE = 0.05
"""Seconds between what a visitor looks at and the next page that asks for a decision; real ones take longer."""
PROBES = 20
PROBE_PAUSE = 0.05
DEADLINE_MS = 1000
"""Generous: on a busy machine the demo would rather wait for events and model than be answered without them."""


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """A visit that will take place; `number` is unique in the run and seeds the visitor's choices."""

    number: int
    customer: int
    arm: str


def book(
    world: World, visits: int, arms: Sequence[str], generator: np.random.Generator, first: int = 0
) -> list[Booking]:
    """`visits` bookings: every customer belongs to one arm, all come equally often, and the arms are mixed in time."""
    population = generator.permutation(len(world.customers))
    queues = [_endless(population[at :: len(arms)], generator, visits) for at in range(len(arms))]
    order = generator.permutation(np.arange(visits) % len(arms))
    return [
        Booking(number=first + number, customer=queues[arm].pop(), arm=arms[arm])
        for number, arm in enumerate(order.tolist())
    ]


async def play(
    client: Client,
    world: World,
    bookings: Sequence[Booking],
    seen: Counts,
    ledger: Ledger,
    seed: int,
    visitors: int,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Play the bookings, `visitors` at a time; `seen` (customers x offers) and `ledger` are updated.

    `advance` is called after every page. Raises ServiceError when the service fails.
    """
    waiting = iter(bookings)

    async def attend() -> None:
        for booking in waiting:
            generator = np.random.default_rng((seed, booking.number))
            await _walk(client, world, booking, seen[booking.customer], ledger, generator, advance)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(visitors):
                group.create_task(attend())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None  # they failed together, and one tells why


async def probe(client: Client, world: World, arm: str, ledger: Ledger) -> None:
    """Until cancelled: send an event of a probe customer and ask for decisions until one has seen it.

    These decisions wait for nothing. The ledger gets their seconds, and those from an event's acknowledgement to the
    answer that has seen it.
    """
    marks: dict[str, datetime] = {}
    for number in itertools.count():
        await asyncio.sleep(PROBE_PAUSE)
        customer = f"probe-{number % PROBES}"
        viewed = product(world, world.offers[number % len(world.offers)])
        await client.send([track(customer, f"probe-{number}", "Product Viewed", viewed)])
        acknowledged = perf_counter()
        while True:
            started = perf_counter()
            decision = await client.decide(ask(customer, ["home-hero"], arm))
            now = perf_counter()
            ledger.decision_seconds.append(now - started)
            if decision.features_as_of is not None and decision.features_as_of != marks.get(customer):
                marks[customer] = decision.features_as_of
                ledger.fresh_seconds.append(now - acknowledged)
                break


def ask(customer: str, placements: Sequence[str], arm: str, **more: Any) -> dict[str, Any]:
    """A decision request of the given arm."""
    return {
        "customer_id": customer,
        "placements": [{"id": placement} for placement in placements],
        "context": {"page": {"path": "/"}},
        "flags": {EXPERIMENT: arm},
        "deadline_ms": DEADLINE_MS,
        **more,
    }


def track(customer: str, message_id: str, event: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "track", "event": event, "userId": customer, "messageId": message_id, "properties": properties}


def product(world: World, offer: Offer) -> dict[str, Any]:
    return {"product_id": offer.id, "category": world.categories[offer.category], "price": offer.price}


async def _walk(
    client: Client,
    world: World,
    booking: Booking,
    seen: Counts,
    ledger: Ledger,
    generator: np.random.Generator,
    advance: Callable[[], None],
) -> None:
    visitor = visit(world, booking.customer, seen, generator)
    customer = world.customers[booking.customer]
    page, decision_id = next(visitor), ""
    for number in itertools.count():
        events = _events(world, customer, page, decision_id, f"{booking.number}-{number}")
        token = await client.send(events)
        ledger.events += len(events)
        ledger.judge(booking.arm, page.judgements)
        if not page.placements:
            return
        await asyncio.sleep(PAUSE * generator.uniform(0.5, 1.5))
        decision = await client.decide(ask(customer, page.placements, booking.arm, after=token))
        ledger.rungs[decision.rung] += 1
        decision_id = decision.decision_id
        page = visitor.send(
            {placement.id: [world.index[item.id] for item in placement.items] for placement in decision.placements}
        )
        advance()


def _events(world: World, customer: str, page: Page, decision_id: str, prefix: str) -> list[dict[str, Any]]:
    return [
        track(customer, f"{prefix}-{at}", happening.event, _properties(world, happening, decision_id, prefix))
        for at, happening in enumerate(page.happenings)
    ]


def _properties(world: World, happening: Happening, decision_id: str, order: str) -> dict[str, Any]:
    offer = world.offers[happening.offer]
    if happening.placement is not None:
        return {
            "promotion_id": offer.id,
            "decision_id": decision_id,
            "placement": happening.placement,
            "position": happening.position,
            "category": world.categories[offer.category],
        }
    if happening.event == "Order Completed":
        return {"order_id": order, "revenue": offer.price, "products": [{**product(world, offer), "quantity": 1}]}
    return product(world, offer)


def _endless(customers: Counts, generator: np.random.Generator, at_least: int) -> list[int]:
    """Customers in random order, again and again: so that nobody comes twice at the same time."""
    rounds = at_least // len(customers) + 1
    return [int(customer) for _ in range(rounds) for customer in generator.permutation(customers)]
