"""The declarations: every streaming feature, once. Worker, replay, service and training all read this list.

To add a feature, add a line; its name says its parameters, and with it the view's layout (its stored field) changes.
`kairos features check` shows what a line gives before it is added.
"""

from __future__ import annotations

import math
import sys
from typing import Literal

import msgspec

from features.aggregates.aging import DAY, HOUR
from features.aggregates.keyed import Affinity, History, KeyedKind, Transition
from features.aggregates.kinds import Decayed, FirstSeen, Kind, Last, Mean, Rate, Recency, Value
from features.aggregates.windows import Distinct, Sum, Window

ANY = "*"
"""In a declaration's events: every event that has a behaviour."""
TOTAL = "*"
"""The candidate that stands for all of them: its row counts each event once."""

Entity = Literal["customer", "candidate", "successors"]
KINDS: dict[str, type[Kind] | type[KeyedKind]] = {
    "affinity": Affinity,
    "count": Window,
    "decayed": Decayed,
    "distinct": Distinct,
    "first_seen": FirstSeen,
    "history": History,
    "last": Last,
    "mean": Mean,
    "rate": Rate,
    "recency": Recency,
    "sum": Sum,
    "transition": Transition,
}
"""The catalogue: every kind by the word that names of features begin their parameters with."""


class DeclarationError(ValueError):
    """A declaration that no event could ever fill, or that another part cannot hold; the message says why."""


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """One declaration.

    `events` are groups of event names (one group, or as many as the kind tells apart); `value` is what an event adds
    (for `last`: what is remembered), `key` what a keyed kind is keyed by.
    """

    entity: Entity
    subject: str
    events: tuple[tuple[str, ...], ...]
    kind: Kind | KeyedKind
    value: Value = "one"
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
DECLINED = (("Promotion Declined",),)
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
    Aggregate(entity="customer", subject="promotion_declined", events=DECLINED, kind=History(64), key="candidate"),
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


def flaw(aggregate: Aggregate) -> str | None:
    """What is wrong with a declaration; None if it can be filled."""
    kind, entity, key = aggregate.kind, aggregate.entity, aggregate.key
    word = next((word for word, one in KINDS.items() if one is type(kind)), type(kind).__name__)
    takes_key = isinstance(kind, KeyedKind) and kind.takes_key
    numbers = {name: getattr(kind, name) for name in kind.__struct_fields__}
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0) and name != "prior":
            return f"{name} must be a positive number, and is {number}"
    if numbers.get("hop", 0.0) > numbers.get("length", math.inf):
        return "hop must not be longer than length"
    if not all(aggregate.events) or len(aggregate.events) != kind.groups:
        return f"{word} takes {kind.groups} group(s) of events, and {len(aggregate.events)} are given"
    if aggregate.value not in kind.values:
        return f"the value of {word} is one of {', '.join(kind.values)}, and not {aggregate.value}"
    if takes_key and key is None:
        return f"{word} needs a key: candidate or category"
    if not takes_key and key is not None:
        return f"{word} takes no key"
    if (entity == "successors") != isinstance(kind, Transition):
        return f"{word} cannot be kept on {entity}: transition, and nothing else, is kept on successors"
    if entity == "candidate" and (takes_key or aggregate.value != "one"):
        return "a candidate's aggregates take no key, and no other value than one"
    if entity == "successors" and (key != "candidate" or aggregate.events not in _PRECEDING):
        return "transition is keyed by candidate, and its events are those of a customer's last candidate"
    return None


_PRECEDING = [one.events for one in CUSTOMER if isinstance(one.kind, Last) and one.value == "candidate"]


def extend(aggregate: Aggregate) -> None:
    """Declare one more in this process, which has to come before the layouts are made of the declarations.

    Raises DeclarationError for what is flawed or declared already, RuntimeError when it comes too late.
    """
    if "features.aggregates.rows" in sys.modules:
        raise RuntimeError("the layouts are made already: extend before anything else of features is imported")
    if (reason := flaw(aggregate)) is not None:
        raise DeclarationError(f"{aggregate.name}: {reason}")
    names = {one.name for aggregates in VIEWS.values() for one in aggregates}
    if aggregate.name in names:
        raise DeclarationError(f"{aggregate.name} is declared already: change its parameters, or name it instead")
    VIEWS[aggregate.entity] = (*VIEWS[aggregate.entity], aggregate)
