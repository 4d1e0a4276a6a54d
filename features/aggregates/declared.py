"""The declarations: every streaming feature, once. Worker, replay, service and training all read this list.

To add a feature, add a line; its name says its parameters, and with it the view's layout (its stored field) changes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from features.aggregates.keyed import Affinity, History, KeyedKind, Transition, Window
from features.aggregates.kinds import DAY, HOUR, Decayed, FirstSeen, Kind, Last, Mean, Rate, Recency

ANY = "*"
"""In a declaration's events: every event that has a behaviour."""
TOTAL = "*"
"""The candidate that stands for all of them: its row counts each event once."""

Entity = Literal["customer", "candidate", "successors"]


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """One declaration.

    `events` are groups of event names (one group, or as many as the kind tells apart); `value` is what an event adds
    (for `last`: what is remembered), `key` what a keyed kind is keyed by.
    """

    entity: Entity
    subject: str
    events: tuple[tuple[str, ...], ...]
    kind: Kind | KeyedKind
    value: Literal["one", "items", "revenue", "candidate", "category"] = "one"
    key: Literal["candidate", "category"] | None = None

    @property
    def name(self) -> str:
        detail = "" if self.value == "one" else f"_{self.value}"
        by = "_category" if self.key == "category" else ""
        return f"{self.entity}__{self.subject}{detail}__{self.kind.slug}{by}"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the features it closes to."""
        return tuple(f"{self.name}_{output}" if output else self.name for output in self.kind.outputs)


EVERYTHING = ((ANY,),)
VIEWED = (("Product Viewed",),)
ADDED = (("Product Added",),)
ORDERED = (("Order Completed",),)
SHOWN = (("Promotion Viewed",),)
CLICKED = (("Promotion Clicked",),)
CLICKED_OF_SHOWN = (("Promotion Clicked",), ("Promotion Viewed",))

CUSTOMER: tuple[Aggregate, ...] = (
    Aggregate(entity="customer", subject="any", events=EVERYTHING, kind=Recency()),
    Aggregate(entity="customer", subject="any", events=EVERYTHING, kind=FirstSeen()),
    Aggregate(entity="customer", subject="product_viewed", events=VIEWED, kind=Decayed(HOUR)),
    Aggregate(entity="customer", subject="product_viewed", events=VIEWED, kind=Decayed(7 * DAY)),
    Aggregate(entity="customer", subject="product_viewed", events=VIEWED, kind=Window(DAY, HOUR)),
    Aggregate(entity="customer", subject="product_viewed", events=VIEWED, kind=Last(), value="candidate"),
    Aggregate(entity="customer", subject="product_viewed", events=VIEWED, kind=Last(), value="category"),
    Aggregate(entity="customer", subject="product_viewed", events=VIEWED, kind=History(64), key="candidate"),
    Aggregate(entity="customer", subject="product_viewed", events=VIEWED, kind=Affinity(HOUR), key="category"),
    Aggregate(entity="customer", subject="product_viewed", events=VIEWED, kind=Affinity(30 * DAY), key="category"),
    Aggregate(entity="customer", subject="product_added", events=ADDED, kind=Decayed(DAY)),
    Aggregate(entity="customer", subject="order_completed", events=ORDERED, kind=Decayed(30 * DAY)),
    Aggregate(entity="customer", subject="order_completed", events=ORDERED, kind=Decayed(365 * DAY), value="revenue"),
    Aggregate(entity="customer", subject="order_completed", events=ORDERED, kind=Mean(365 * DAY), value="items"),
    Aggregate(entity="customer", subject="order_completed", events=ORDERED, kind=Recency()),
    Aggregate(entity="customer", subject="order_completed", events=ORDERED, kind=History(512), key="candidate"),
    Aggregate(
        entity="customer", subject="order_completed", events=ORDERED, kind=Affinity(180 * DAY, 64), key="category"
    ),
    Aggregate(entity="customer", subject="promotion", events=CLICKED_OF_SHOWN, kind=Rate(30 * DAY)),
    Aggregate(entity="customer", subject="promotion_viewed", events=SHOWN, kind=Decayed(HOUR)),
    Aggregate(entity="customer", subject="promotion_viewed", events=SHOWN, kind=History(64), key="candidate"),
    Aggregate(entity="customer", subject="promotion_viewed", events=SHOWN, kind=Affinity(7 * DAY), key="category"),
    Aggregate(entity="customer", subject="promotion_clicked", events=CLICKED, kind=History(64), key="candidate"),
    Aggregate(entity="customer", subject="promotion_clicked", events=CLICKED, kind=Affinity(30 * DAY), key="category"),
)

CANDIDATE: tuple[Aggregate, ...] = (
    Aggregate(entity="candidate", subject="any", events=EVERYTHING, kind=FirstSeen()),
    Aggregate(entity="candidate", subject="product_viewed", events=VIEWED, kind=Decayed(HOUR)),
    Aggregate(entity="candidate", subject="product_viewed", events=VIEWED, kind=Decayed(7 * DAY)),
    Aggregate(entity="candidate", subject="product_added", events=ADDED, kind=Decayed(7 * DAY)),
    Aggregate(entity="candidate", subject="order_completed", events=ORDERED, kind=Decayed(7 * DAY)),
    Aggregate(entity="candidate", subject="order_completed", events=ORDERED, kind=Decayed(60 * DAY)),
    Aggregate(entity="candidate", subject="order_completed", events=ORDERED, kind=Recency()),
    Aggregate(entity="candidate", subject="promotion", events=CLICKED_OF_SHOWN, kind=Rate(DAY)),
    Aggregate(entity="candidate", subject="promotion", events=CLICKED_OF_SHOWN, kind=Rate(30 * DAY)),
)

SUCCESSORS: tuple[Aggregate, ...] = (
    Aggregate(entity="successors", subject="product_viewed", events=VIEWED, kind=Transition(30 * DAY), key="candidate"),
)

VIEWS: dict[str, tuple[Aggregate, ...]] = {"customer": CUSTOMER, "candidate": CANDIDATE, "successors": SUCCESSORS}
