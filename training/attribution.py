"""Rewards credited to exposures: clicks, orders and revenue, each within the placement's window. Pure: no I/O.

A click counts for its own decision, placement and candidate. An order counts once for each placement: for what the
customer clicked there last, else for what they saw there last. A window that has not closed yet teaches nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

Target = Literal["click", "conversion", "revenue"]
TARGETS: tuple[Target, ...] = ("click", "conversion", "revenue")
MINUTE = 60 * 1_000_000
DAY = 24 * 60 * MINUTE
NEARLY_ALL = 0.99
"""Where no window is set, clicks are waited for until this share of them had come, and at most LONGEST_CLICK."""
LONGEST_CLICK = 30 * MINUTE
CONVERSION = 7 * DAY

Key = tuple[str, str, str]
"""Decision, placement, candidate."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How long after an exposure a reward still counts for it, in microseconds."""

    click: int | None = None
    """None: LONGEST_CLICK, and closed as soon as hardly any click would come any more."""
    conversion: int = CONVERSION


class Touch(msgspec.Struct, frozen=True):
    """An exposure or a click; `customer` is who they turned out to be, `time` in microseconds."""

    key: Key
    customer: str
    time: int


class Order(msgspec.Struct, frozen=True):
    """What was bought; `id` is the shop's, so that an order that is told twice counts once."""

    id: str
    customer: str
    time: int
    revenue: float


class Refund(msgspec.Struct, frozen=True):
    order: str
    revenue: float
    """None of it is left below zero; infinite for a cancellation."""


class Credit(msgspec.Struct):
    """What became of an exposure."""

    seen: int
    """First, in microseconds."""
    clicked: int | None = None
    """When first, if within the window."""
    orders: int = 0
    revenue: float = 0.0


class Attributed(msgspec.Struct, frozen=True, kw_only=True):
    """Credits of all exposures, and what found none."""

    credits: dict[Key, Credit]
    unseen_clicks: int
    """Clicks on what nobody was told to have seen."""
    late_clicks: int
    unclaimed: int
    """Orders of customers who had seen nothing in any placement's window."""
    repeated: int
    """Orders told again."""
    click_delay: int
    """By which NEARLY_ALL clicks had come; 0 without any."""

    def is_open(self, key: Key, target: Target, window: Window, until: int) -> bool:
        """Whether a reward that has not come by `until` may still come."""
        credit = self.credits[key]
        if target == "click":
            longest = window.click
            if longest is None:
                longest = min(self.click_delay, LONGEST_CLICK)
            return credit.clicked is None and credit.seen + longest > until
        return credit.seen + window.conversion > until


def attribute(
    exposures: Iterable[Touch],
    clicks: Iterable[Touch],
    orders: Iterable[Order],
    refunds: Iterable[Refund],
    windows: dict[str, Window],
) -> Attributed:
    """Credit rewards, whatever the order in which they arrived; `windows` are by placement, `Window()` for others."""
    touches: dict[tuple[str, str], tuple[list[tuple[int, Key]], list[tuple[int, Key]]]] = {}
    found: dict[Key, Credit] = {}
    for touch in exposures:
        credit = found.setdefault(touch.key, Credit(touch.time))
        credit.seen = min(credit.seen, touch.time)
        touches.setdefault((touch.customer, touch.key[1]), ([], []))[0].append((touch.time, touch.key))
    delays: list[int] = []
    unseen: set[Key] = set()
    late: set[Key] = set()
    for touch in sorted(clicks, key=lambda touch: touch.time):
        clicked = found.get(touch.key)
        if clicked is None:
            unseen.add(touch.key)
            continue
        # A click says that it was seen: its exposure's time, if later, is only that of a slower message.
        longest = windows.get(touch.key[1], Window()).click
        if touch.time - clicked.seen > (LONGEST_CLICK if longest is None else longest):
            late.add(touch.key)
            continue
        if clicked.clicked is None:
            clicked.clicked = touch.time
            delays.append(max(touch.time - clicked.seen, 0))
        touches.setdefault((touch.customer, touch.key[1]), ([], []))[1].append((touch.time, touch.key))
    unclaimed, repeated = _credit_orders(found, touches, orders, refunds, windows)
    return Attributed(
        credits=found,
        unseen_clicks=len(unseen),
        late_clicks=len({key for key in late if found[key].clicked is None}),
        unclaimed=unclaimed,
        repeated=repeated,
        click_delay=int(np.quantile(delays, NEARLY_ALL, method="higher")) if delays else 0,
    )


def _credit_orders(
    found: dict[Key, Credit],
    touches: dict[tuple[str, str], tuple[list[tuple[int, Key]], list[tuple[int, Key]]]],
    orders: Iterable[Order],
    refunds: Iterable[Refund],
    windows: dict[str, Window],
) -> tuple[int, int]:
    """(orders that found no exposure, orders that had been told before)"""
    placements: dict[str, list[str]] = {}
    for (customer, placement), both in touches.items():
        placements.setdefault(customer, []).append(placement)
        for times in both:
            times.sort()
    returned: dict[str, float] = {}
    for refund in refunds:
        returned[refund.order] = returned.get(refund.order, 0.0) + refund.revenue
    told: set[str] = set()
    unclaimed = repeated = 0
    for order in sorted(orders, key=lambda order: order.time):
        if order.id in told:
            repeated += 1
            continue
        told.add(order.id)
        back = returned.get(order.id, 0.0)
        left = max(order.revenue - back, 0.0)
        if back and not left:
            continue  # nothing of it was kept
        keys = []
        for placement in placements.get(order.customer, ()):
            window = windows.get(placement, Window()).conversion
            seen, clicked = touches[order.customer, placement]
            keys.append(_last_within(clicked, order.time, window) or _last_within(seen, order.time, window))
        for key in filter(None, keys):
            found[key].orders += 1
            found[key].revenue += left
        unclaimed += not any(keys)
    return unclaimed, repeated


def _last_within(times: list[tuple[int, Key]], until: int, window: int) -> Key | None:
    at = bisect_right(times, until, key=lambda touch: touch[0]) - 1
    return times[at][1] if at >= 0 and until - times[at][0] <= window else None
