"""Events of a shop of any size as the archive keeps them: its catalog, behaviour, decisions and snapshots."""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgspec
import numpy as np

from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, Row, pack
from features.events.occurrences import read
from features.events.schema import CatalogPublished, Decision, Served, Slot, SnapshotTaken, StateRead, Track

SECOND = 1_000_000
START = 1_700_006_400 * SECOND
GAP = 740_010
"""Microseconds between visits; what ends on another digit than snapshots never stands at the same instant."""
SHOWN, VIEWS = 4, 2
CATEGORIES = 8
SPREAD = 30 * SECOND
"""A visit is over by then."""
PLACEMENT = "home-grid"
DEVICES, REFERRERS = ("mobile", "desktop"), ("https://t.co/a", "https://www.google.com/", "")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How large an archive."""

    rows: int
    """Exposures, which are what is labelled."""
    customers: int
    candidates: int = 200
    partitions: int = 2
    seed: int = 7

    @property
    def visits(self) -> int:
        return -(-self.rows // SHOWN)

    @property
    def end(self) -> int:
        return START + self.visits * GAP + SPREAD


def catalog(plan: Plan) -> dict[str, Any]:
    candidates = [
        {
            "id": f"o-{number}",
            "kind": "offer",
            "title": f"Offer {number}",
            "category": f"k-{number % CATEGORIES}",
            "price": 5.0 + number,
            "value": 1.0 + number % 5,
        }
        for number in range(plan.candidates)
    ]
    placement = {"id": PLACEMENT, "default": "o-0", "limit": SHOWN, "exploration": 1.0}
    return {"currency": "EUR", "time_zone": "UTC", "placements": [placement], "candidates": candidates}


def happen(row: Row, at: int, event: str, properties: dict[str, Any]) -> Track:
    """An event, and the customer's row with it."""
    track = Track(
        message_id=f"{row.text}-{at:x}",
        customer=row.text,
        anonymous_id=row.text,
        time=at - 2000,
        received=at,
        context={"page": {"path": "/shoes"}, "userAgent": "Mozilla/5.0 (X11; Linux x86_64)"},
        event=event,
        properties=properties,
    )
    occurrence = read(track)
    if occurrence is None:
        raise ValueError(f"{event} is no behaviour")
    advance_customer(row, occurrence)
    row.applied = at
    return track


def decide(plan: Plan, row: Row, name: str, at: int, shown: list[int], number: int) -> Decision:
    items = [
        Served(
            id=f"o-{what}",
            rank=rank,
            priority=0.1,
            propensity=0.05,
            value=1.0 + what % 5,
            selection_probability=1.0 / (plan.candidates - rank + 1),
        )
        for rank, what in enumerate(shown, 1)
    ]
    numbers, ids = pack(row)
    state = StateRead(
        layout=LAYOUTS["customer"].version,
        applied=row.applied,
        numbers=np.array(numbers).tobytes(),
        ids=np.array(ids, np.int64).tobytes(),
    )
    time = at - 100
    snapshot = (time - SECOND // 2) // SECOND
    return Decision(
        message_id=f"decision:{name}",
        decision_id=name,
        customer=row.text,
        time=time,
        received=at,
        context={"device": DEVICES[number % 2], "referrer": {"url": REFERRERS[number % 3]}, "page": {"path": "/"}},
        placements=[Slot(id=PLACEMENT, limit=SHOWN, items=items, exploration=1.0, rung="model")],
        rung="model",
        catalog_version="1",
        snapshot=snapshot - START // SECOND,
        snapshot_time=snapshot * SECOND,
        state=state,
        unit=row.text,
    )


def publish(plan: Plan) -> CatalogPublished:
    document = catalog(plan)
    return CatalogPublished(
        message_id="catalog-1",
        customer="",
        time=START,
        received=START,
        version="1",
        candidates=document["candidates"],
        document=zlib.compress(json.dumps(document).encode()),
    )


def take_snapshot(plan: Plan, at: int) -> SnapshotTaken:
    return SnapshotTaken(
        message_id=f"snapshot-{at}",
        customer="",
        time=at,
        received=at,
        number=(at - START) // SECOND,
        cursors={str(number): at for number in range(plan.partitions)},
    )
