"""Small archives with a signal: orders of customers with tastes, and a live shop's decisions as they are logged."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from features import archive
from features.aggregates.columns import Columns, decode_rows, slot_of
from features.aggregates.engine import TOTAL_ID, Candidates, advance_candidates, advance_customer
from features.aggregates.rows import LAYOUTS, Row, blank, pack
from features.events.occurrences import read
from features.events.schema import (
    Alias,
    CatalogPublished,
    Decision,
    Event,
    Group,
    Identify,
    Page,
    Screen,
    Served,
    Slot,
    SnapshotTaken,
    StateRead,
    Track,
)
from features.ids import digest
from models.matrix import States, Subjects, close_candidates, compute

if TYPE_CHECKING:
    from features.home import Home

DAY, HOUR, MINUTE, SECOND = 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000
START = 1_700_006_400 * SECOND
"""A midnight, UTC."""
CATEGORIES = ("shoes", "bags", "audio")
PRODUCTS = [f"p-{number}" for number in range(30)]
ZONE = ZoneInfo("Europe/Madrid")
Inline = Track | Identify | Page | Screen | Group | Alias
CATALOG = [
    {"id": text, "kind": "offer", "category": CATEGORIES[at % 3], "price": 5.0 + at, "value": 1.0}
    for at, text in enumerate(PRODUCTS)
]


def publish(at: int) -> CatalogPublished:
    return CatalogPublished(
        message_id=f"catalog-{at}", customer="", time=at, received=at, version="1", candidates=CATALOG
    )


def track(customer: str, at: int, event: str, properties: dict[str, Any], message_id: str = "") -> Track:
    return Track(
        message_id=message_id or f"{event}-{customer}-{at}",
        customer=customer,
        time=at,
        received=at,
        event=event,
        properties=properties,
    )


def product(at: int) -> dict[str, Any]:
    return {"product_id": PRODUCTS[at], "category": CATEGORIES[at % 3], "price": 5.0 + at, "quantity": 1}


def write(home: Home, events: list[Event], partition: int = archive.IMPORTED) -> None:
    entries = [archive.entry(event.received, event) for event in sorted(events, key=lambda event: event.received)]
    archive.write(home.events, str(partition), archive.tabulate(partition, entries))


def order_history(home: Home, customers: int = 60, days: int = 60, seed: int = 1) -> list[Track]:
    """Each customer orders every few days, mostly the few products that they always order."""
    generator = np.random.default_rng(seed)
    usual = {number: generator.choice(len(PRODUCTS), 4, replace=False) for number in range(customers)}
    events = []
    for day in range(days):
        for number in np.flatnonzero(generator.random(customers) < 0.25).tolist():
            often = usual[number][generator.random(4) < 0.6]
            basket = np.unique([*often, *generator.integers(len(PRODUCTS), size=2)])
            at = START + day * DAY + int(generator.integers(8 * 3600, 20 * 3600)) * SECOND + number
            properties = {"products": [product(place) for place in basket.tolist()], "revenue": 10.0 * len(basket)}
            events.append(track(f"c-{number}", at, "Order Completed", properties))
    write(home, [*events, publish(START + days * DAY)])
    return events


class Remembered(msgspec.Struct, frozen=True):
    """What was computed when a slot was decided: feature -> value by candidate."""

    decision: str
    placement: str
    candidates: list[str]
    features: dict[str, Any]


class LiveShop:
    """One partition as service and worker run it: states in memory, snapshots now and then, decisions that log both."""

    def __init__(self, seed: int = 2) -> None:
        self.events: list[Event] = [publish(START)]
        self.remembered: list[Remembered] = []
        self._generator = np.random.default_rng(seed)
        self._customers: dict[str, Row] = {}
        self._live = Candidates()
        self._snapshot: dict[str, dict[int, tuple[list[float], list[int]]]] = {"candidate": {}, "successors": {}}
        self._head = (0, 0)
        self.now = START + MINUTE

    def happen(self, event: Track) -> None:
        occurrence = read(event)
        assert occurrence is not None
        row = self._customers.setdefault(event.customer, blank(LAYOUTS["customer"], event.customer))
        advance_candidates(self._live, row, occurrence, event.received)
        advance_customer(row, occurrence)
        row.applied = event.received
        self.events.append(event)

    def tick(self, seconds: float) -> int:
        self.now += int(seconds * SECOND)
        return self.now

    def take_snapshot(self) -> None:
        at = self.tick(0.5)
        self._head = (self._head[0] + 1, at)
        cursor = max((event.received for event in self.events if isinstance(event, Track)), default=0)
        self._snapshot = {
            view: {key: pack(row) for key, row in getattr(self._live, view).items()} for view in self._snapshot
        }
        marker = SnapshotTaken(
            message_id=f"snapshot-{at}",
            customer="",
            time=at,
            received=at,
            number=self._head[0],
            cursors={"0": cursor},
        )
        self.events.append(marker)

    def decide(self, customer: str, shown: dict[str, list[int]], inline: list[Inline]) -> str:
        """Log a decision that shows these products by placement, and remember the features of that moment."""
        at = self.tick(0.3)
        name = f"d-{len(self.remembered)}"
        for placement, places in shown.items():
            features = self._compute(customer, at, placement, places, inline)
            self.remembered.append(Remembered(name, placement, [PRODUCTS[place] for place in places], features))
        self.events.append(
            Decision(
                message_id=f"decision:{name}",
                decision_id=name,
                customer=customer,
                time=at,
                received=at + 5,
                context={"device": "mobile", "referrer": {"url": "https://t.co/a"}, "timezone": str(ZONE)},
                placements=[_slot(placement, places) for placement, places in shown.items()],
                rung="model",
                catalog_version="1",
                snapshot=self._head[0],
                snapshot_time=self._head[1],
                state=_state(self._customers.get(customer)),
                events=inline,
            )
        )
        for event in inline:
            assert isinstance(event, Track)
            self.happen(msgspec.structs.replace(event, received=self.tick(0.001)))
        return name

    def _compute(
        self, customer: str, at: int, placement: str, places: list[int], inline: list[Inline]
    ) -> dict[str, Any]:
        row = deepcopy(self._customers.get(customer) or blank(LAYOUTS["customer"], customer))
        for occurrence in filter(None, map(read, inline)):
            advance_customer(row, occurrence)
        customers = decode_rows(LAYOUTS["customer"], [pack(row)])
        last = int(customers.head[0, slot_of(customers.layout, "customer__product_viewed_candidate__last")])
        now, owner = np.array([at / 1e6]), np.zeros(len(places), np.int64)
        candidates = self._rows("candidate", [digest(PRODUCTS[place]) for place in places])
        states = States(
            customers=customers,
            candidates=close_candidates(candidates, self._rows("candidate", [TOTAL_ID]), now, owner),
            successors=self._rows("successors", [last]),
        )
        local = datetime.fromtimestamp(at / 1e6, ZONE)
        return compute(
            states,
            Subjects(
                now=now,
                owner=owner,
                candidate=np.array([digest(PRODUCTS[place]) for place in places]),
                category=np.array([digest(CATEGORIES[place % 3]) for place in places]),
                kind=np.array([digest("offer")] * len(places)),
                price=np.array([5.0 + place for place in places]),
                value=np.ones(len(places)),
                hour=np.array([float(local.hour)]),
                weekday=np.array([float(local.weekday())]),
                device=np.array([digest("mobile")]),
                referrer=np.array([digest("social")]),
                placement=np.array([digest(placement)]),
            ),
        )

    def _rows(self, view: str, keys: list[int]) -> Columns:
        """What the snapshot holds of these keys."""
        layout = LAYOUTS[view]
        return decode_rows(layout, [self._snapshot[view].get(key, pack(blank(layout, ""))) for key in keys])


def _state(row: Row | None) -> StateRead | None:
    if row is None:
        return None
    numbers, ids = pack(row)
    return StateRead(
        layout=LAYOUTS["customer"].version,
        applied=row.applied,
        numbers=np.array(numbers).tobytes(),
        ids=np.array(ids, np.int64).tobytes(),
    )


def _slot(placement: str, places: list[int]) -> Slot:
    ranked = enumerate(places, 1)
    items = [Served(id=PRODUCTS[place], rank=rank, priority=0.1, value=1.0) for rank, place in ranked]
    return Slot(id=placement, limit=len(places), items=items)


def visits(home: Home, count: int = 300, customers: int = 40, seed: int = 2) -> LiveShop:
    """Visitors look at products of their category, see offers at random, and click on those of their category."""
    shop = LiveShop(seed)
    generator = np.random.default_rng(seed)
    for number in range(count):
        who = int(generator.integers(customers))
        customer, taste = f"c-{who}", who % 3
        for _ in range(2):
            place = int(generator.integers(10)) * 3 + taste
            shop.happen(track(customer, shop.tick(2.0), "Product Viewed", product(place)))
        if number % 3 == 0:
            shop.take_snapshot()
        inline: list[Inline] = []
        if number % 5 == 0:
            place = int(generator.integers(10)) * 3 + taste
            inline = [track(customer, shop.tick(0.1), "Product Viewed", product(place), f"inline-{number}")]
        places = generator.choice(len(PRODUCTS), 4, replace=False).tolist()
        decision = shop.decide(customer, {"hero": places[:1], "grid": places[1:]}, inline)
        for placement, shown in (("hero", places[:1]), ("grid", places[1:])):
            for place in shown:
                properties = {"decision_id": decision, "placement": placement, "promotion_id": PRODUCTS[place]}
                properties["category"] = CATEGORIES[place % 3]
                shop.happen(track(customer, shop.tick(0.2), "Promotion Viewed", properties, f"v-{number}-{place}"))
                if generator.random() < (0.6 if place % 3 == taste else 0.03):
                    shop.happen(track(customer, shop.tick(0.2), "Promotion Clicked", properties, f"k-{number}-{place}"))
    # An hour later: every click that was to come has come.
    shop.happen(track("nobody", shop.tick(3600.0), "Visit Ended", {}))
    write(home, shop.events, partition=0)
    return shop
