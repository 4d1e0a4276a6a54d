"""Rewards credited to exposures: clicks, orders and revenue, each within the placement's window. Pure: no I/O.

A click counts for its own decision, placement and candidate. An order counts once for each placement: for what the
customer clicked there last, else for what they saw there last. A window that has not closed yet teaches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

if TYPE_CHECKING:
    from training.labels import Flags, Floats, Ints
    from training.touches import Behaviour, Names, Numbering, Order, Refund, Touches

Target = Literal["click", "conversion", "revenue"]
TARGETS: tuple[Target, ...] = ("click", "conversion", "revenue")
MINUTE = 60 * 1_000_000
DAY = 24 * 60 * MINUTE
NEARLY_ALL = 0.99
"""Where no window is set, clicks are waited for until this share of them had come, and at most LONGEST_CLICK."""
LONGEST_CLICK = 30 * MINUTE
CONVERSION = 7 * DAY
NEVER = np.iinfo(np.int64).max


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How long after an exposure a reward still counts for it, in microseconds."""

    click: int | None = None
    """None: LONGEST_CLICK, and closed as soon as hardly any click would come any more."""
    conversion: int = CONVERSION


class Attributed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each exposure, in columns (u,), and what found none; by decision, placement and candidate, whose
    numbers are those of the behaviour's names.
    """

    decision: Ints
    placement: Ints
    candidate: Ints
    seen: Ints
    """First, in microseconds."""
    clicked: Ints
    """When first, if within the window; else NEVER."""
    orders: Ints
    revenue: Floats
    click_window: Ints
    """How long its click is waited for."""
    conversion_window: Ints
    unseen_clicks: int
    """Clicks on what nobody was told to have seen."""
    late_clicks: int
    unclaimed: int
    """Orders of customers who had seen nothing in any placement's window."""
    repeated: int
    """Orders told again."""
    click_delay: int
    """By which NEARLY_ALL clicks had come; 0 without any."""

    @property
    def is_clicked(self) -> Flags:
        found: Flags = self.clicked != NEVER
        return found

    def is_open(self, target: Target, until: int) -> Flags:
        """(u,) whether a reward that has not come by `until` may still come."""
        waiting: Flags = self.seen + self.conversion_window > until
        if target == "click":
            waiting = ~self.is_clicked & (self.seen + self.click_window > until)
        return waiting


def attribute(behaviour: Behaviour, windows: dict[str, Window]) -> Attributed:
    """Credit rewards, whatever the order in which they arrived; `windows` are by placement, `Window()` for others."""
    names = behaviour.names
    of = [windows.get(name, Window()) for name in names.placements]
    longest = np.array([LONGEST_CLICK if each.click is None else each.click for each in of], np.int64)
    conversion = np.array([each.conversion for each in of], np.int64)
    exposures, clicks = _open(behaviour.exposures, names), _open(behaviour.clicks, names)
    found, first, exposure = np.unique(exposures.key, return_index=True, return_inverse=True)
    seen = np.full(len(found), NEVER)
    np.minimum.at(seen, exposure, exposures.time)
    # A click says that it was seen: its exposure's time, if later, is only that of a slower message.
    place = np.searchsorted(found, clicks.key)
    known = np.append(found, -1)[place] == clicks.key
    early = clicks.take(known)
    of_click = place[known]
    in_time = early.time - seen[of_click] <= longest[early.placement]
    clicked = np.full(len(found), NEVER)
    np.minimum.at(clicked, of_click[in_time], early.time[in_time])
    rewarded = clicked != NEVER
    delays = np.maximum(clicked[rewarded] - seen[rewarded], 0)
    delay = int(np.quantile(delays, NEARLY_ALL, method="higher")) if len(delays) else 0
    sold = _settle(behaviour.orders, behaviour.refunds)
    credited = np.full((len(of), len(sold.time)), -1)
    if len(sold.time):
        by_click, by_view = _Latest(early.take(in_time), of_click[in_time], names), _Latest(exposures, exposure, names)
        for at, window in enumerate(conversion.tolist()):
            clicked_last = by_click.find(sold, at, window)
            credited[at] = np.where(clicked_last >= 0, clicked_last, by_view.find(sold, at, window))
    paid = credited >= 0
    orders, revenue = np.bincount(credited[paid], minlength=len(found)), np.zeros(len(found))
    np.add.at(revenue, credited[paid], np.broadcast_to(sold.revenue, credited.shape)[paid])
    waited = [min(delay, LONGEST_CLICK) if each.click is None else each.click for each in of]
    placement = exposures.placement[first]
    return Attributed(
        decision=exposures.decision[first],
        placement=placement,
        candidate=exposures.candidate[first],
        seen=seen,
        clicked=clicked,
        orders=orders,
        revenue=revenue,
        click_window=np.array(waited, np.int64)[placement],
        conversion_window=conversion[placement],
        unseen_clicks=len(np.unique(clicks.key[~known])),
        late_clicks=int((~rewarded[np.unique(of_click[~in_time])]).sum()),
        unclaimed=int((~paid).all(axis=0).sum()),
        repeated=sold.repeated,
        click_delay=delay,
    )


class _Opened(msgspec.Struct, frozen=True):
    """Touches as columns (t,), with one number for each decision, placement and candidate."""

    key: Ints
    decision: Ints
    placement: Ints
    candidate: Ints
    customer: Ints
    time: Ints

    def take(self, places: Flags) -> _Opened:
        return _Opened(*(getattr(self, name)[places] for name in self.__struct_fields__))


def _open(touches: Touches, names: Names) -> _Opened:
    decision, placement, candidate, customer, time = touches.columns
    key = (decision * max(len(names.placements), 1) + placement) * max(len(names.candidates), 1) + candidate
    return _Opened(key, decision, placement, candidate, customer, time)


class _Sold(msgspec.Struct, frozen=True):
    """Orders of which something was kept, in columns (o,), by time."""

    customer: Ints
    time: Ints
    revenue: Floats
    repeated: int


def _settle(orders: list[Order], refunds: list[Refund]) -> _Sold:
    returned: dict[str, float] = {}
    for refund in refunds:
        returned[refund.order] = returned.get(refund.order, 0.0) + refund.revenue
    told: dict[str, Order] = {}
    for order in sorted(orders, key=lambda order: order.time):
        told.setdefault(order.id, order)
    kept: list[tuple[Order, float]] = []
    for order in told.values():
        back = returned.get(order.id, 0.0)
        left = max(order.revenue - back, 0.0)
        if left or not back:
            kept.append((order, left))
    return _Sold(
        np.array([order.customer for order, _ in kept], np.int64),
        np.array([order.time for order, _ in kept], np.int64),
        np.array([left for _, left in kept], np.float64),
        repeated=len(orders) - len(told),
    )


class _Latest:
    """Finds customers' last touches in a placement; of those of one instant the last by the names in their keys."""

    def __init__(self, touches: _Opened, exposure: Ints, names: Names) -> None:
        self._placements = len(names.placements)
        self._instants, instant = np.unique(touches.time, return_inverse=True)
        code = self._encode(touches.customer, touches.placement, instant + 1)
        decision, candidate = _alphabetical(names.decisions), _alphabetical(names.candidates)
        order = np.lexsort((candidate[touches.candidate], decision[touches.decision], code))
        self._code, self._time, self._exposure = code[order], touches.time[order], exposure[order]

    def find(self, sold: _Sold, placement: int, window: int) -> Ints:
        """(o,) the exposure touched last before each order, and no longer before than `window`; -1: none."""
        if not len(self._code):
            return np.full(len(sold.time), -1)
        instant = np.searchsorted(self._instants, sold.time, side="right")
        place = np.searchsorted(self._code, self._encode(sold.customer, placement, instant), side="right") - 1
        mine = (place >= 0) & (self._code[place] >= self._encode(sold.customer, placement, 0))
        return np.where(mine & (sold.time - self._time[place] <= window), self._exposure[place], -1)

    def _encode(self, customer: Ints, placement: Ints | int, instant: Ints | int) -> Ints:
        """Ascends with time within a customer and placement; 0 is before all instants."""
        return (customer * self._placements + placement) * (len(self._instants) + 1) + instant


def _alphabetical(texts: Numbering) -> Ints:
    """The place of each number's text among all texts."""
    places = np.empty(len(texts), np.int64)
    places[[texts[text] for text in sorted(texts)]] = np.arange(len(texts))
    return places
