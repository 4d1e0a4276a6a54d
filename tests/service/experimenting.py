"""A small experiment in an archive: decisions, views and outcomes as the service writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from features import archive
from features.events.schema import Decision, Event, Joined, Served, Slot, StateRead, Track
from service.catalog.schema import Catalog
from service.experiments.reports.trials import Trial, find

if TYPE_CHECKING:
    from features.home import Home

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
START = 1_700_006_400 * SECOND
"""A midnight, UTC."""
PARTITIONS = 2
METRICS: list[dict[str, Any]] = [
    {"id": "clicks", "event": "Promotion Clicked"},
    {"id": "spend", "kind": "revenue", "event": "Order Completed", "cap": 100.0},
    {
        "id": "basket",
        "kind": "ratio",
        "numerator": {"event": "Order Completed", "property": "items"},
        "denominator": {"event": "Order Completed"},
    },
    {"id": "complaints", "event": "Complaint", "goal": "decrease", "guardrail": True},
]


def catalog(**experiment: Any) -> dict[str, Any]:
    """A catalog of one experiment in one placement."""
    return {
        "placements": [{"id": "hero", "default": "c-0"}, {"id": "foot", "default": "c-0"}],
        "candidates": [{"id": "c-0"}, {"id": "c-1"}],
        "experiments": [
            {
                "id": "hero-test",
                "status": "running",
                "placements": ["hero"],
                "variants": [{"id": "plain"}, {"id": "bold"}],
            }
            | experiment
        ],
    }


def trial(analysis: dict[str, Any] | None = None, **experiment: Any) -> Trial:
    said = catalog(**experiment, analysis={"metrics": METRICS} | (analysis or {}))
    return find(Catalog.model_validate(said), "hero-test")


def decision(number: int, customer: str, at: int, variant: str | None, **fields: Any) -> Decision:
    return Decision(
        message_id=f"d-{number}",
        decision_id=f"d-{number}",
        customer=customer,
        time=at,
        received=at,
        placements=[Slot(id="hero", limit=1, items=[Served(id="c-1", rank=1, priority=1.0, value=1.0)])],
        rung="model",
        catalog_version=fields.pop("catalog_version", "v"),
        snapshot=0,
        snapshot_time=0,
        variants={} if variant is None else {"hero-test": variant},
        **{"unit": customer} | fields,
    )


def track(customer: str, at: int, event: str, properties: dict[str, Any] | None = None, **fields: Any) -> Track:
    return Track(
        message_id=f"{event}-{customer}-{at}",
        customer=customer,
        time=at,
        received=at,
        event=event,
        properties=properties or {},
        **fields,
    )


def view(number: int, customer: str, at: int, placement: str = "hero", **fields: Any) -> Track:
    """Of a slot that shows nothing: enrolment is by placement."""
    return track(customer, at, "Promotion Viewed", {"decision_id": f"d-{number}", "placement": placement}, **fields)


def click(customer: str, at: int, placement: str = "hero") -> Track:
    return track(customer, at, "Promotion Clicked", {"placement": placement, "promotion_id": "c-1"})


def order(customer: str, at: int, revenue: float, **properties: Any) -> Track:
    return track(customer, at, "Order Completed", {"revenue": revenue, **properties})


def joined(previous: str, customer: str, at: int) -> Joined:
    return Joined(
        message_id=f"joined-{previous}-{at}",
        customer=customer,
        time=at,
        received=at,
        previous=previous,
        linked=at,
        state=StateRead(layout="", applied=0, numbers=b"", ids=b""),
        assignment=previous,
        assigned=at,
    )


def meet(number: int, customer: str, at: int, variant: str | None, **fields: Any) -> list[Event]:
    """A decision, and a second later its view."""
    return [decision(number, customer, at, variant, **fields), view(number, customer, at + SECOND)]


def write(home: Home, events: list[Event], partition: int = 0) -> None:
    """Files of a partition, by the time received; no two events arrive at once, as in a stream."""
    entries: list[archive.Entry] = []
    for event in sorted(events, key=lambda event: event.received):
        arrival = max(event.received, entries[-1].arrival + 1) if entries else event.received
        entries.append(archive.entry(arrival, event))
    archive.write(home.events, str(partition), archive.tabulate(partition, entries))


def shop(customers: int = 900, days: int = 6, lead: float = 0.15, seed: int = 1) -> list[Event]:
    """Customers with habits who meet the experiment on their first view; `bold` is clicked more often by `lead`."""
    generator = np.random.default_rng(seed)
    events: list[Event] = []
    for number in range(customers):
        customer, arm = f"c-{number}", generator.integers(2)
        habit = generator.random()
        first = START + int(generator.random() * (days - 2) * DAY) + number
        before = first - DAY - number
        if generator.random() < habit:
            events.append(order(customer, before, 100 * habit, items=2))
        context = {"device": "mobile" if number % 3 else "desktop"}
        events += meet(number, customer, first, ("plain", "bold")[arm], context=context)
        if generator.random() < 0.2 + lead * arm:
            events.append(click(customer, first + 5 * SECOND))
        if generator.random() < habit:
            events.append(order(customer, first + HOUR, 100 * habit + 5 * generator.random(), items=3))
    return events
