"""Rewards find their exposures, whatever order they come in, and however often."""

from __future__ import annotations

import random  # noqa: TC003  # hypothesis reads the annotations
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training import touches
from training.attribution import CONVERSION, DAY, LONGEST_CLICK, MINUTE, NEVER, Attributed, Target, Window
from training.attribution import attribute as credit
from training.touches import Behaviour, Refund

HERO, GRID = "hero", "grid"
NOON = 1_700_000_000_000_000
Key = tuple[str, str, str]


class Touch(NamedTuple):
    key: Key
    customer: str
    time: int


class Order(NamedTuple):
    id: str
    customer: str
    time: int
    revenue: float


class Credit(NamedTuple):
    seen: int
    clicked: int | None
    orders: int
    revenue: float


class Credited(NamedTuple):
    """By name."""

    found: Attributed
    keys: list[Key]

    @property
    def credits(self) -> dict[Key, Credit]:
        columns = (self.found.seen, self.found.clicked, self.found.orders, self.found.revenue)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return {
            key: Credit(seen, None if clicked == NEVER else clicked, orders, revenue)
            for key, (seen, clicked, orders, revenue) in zip(self.keys, rows, strict=True)
        }

    def is_open(self, key: Key, target: Target, until: int) -> bool:
        return bool(self.found.is_open(target, until)[self.keys.index(key)])


def touch(time: int, decision: str = "d", placement: str = HERO, candidate: str = "shoes", who: str = "c") -> Touch:
    return Touch((decision, placement, candidate), who, NOON + time)


def order(time: int, revenue: float = 10.0, name: str = "o-1", who: str = "c") -> Order:
    return Order(name, who, NOON + time, revenue)


def attribute(
    exposures: list[Touch],
    clicks: tuple[Touch, ...] = (),
    orders: tuple[Order, ...] = (),
    refunds: tuple[Refund, ...] = (),
    windows: dict[str, Window] | None = None,
) -> Credited:
    behaviour = Behaviour(refunds=list(refunds))
    names = behaviour.names
    for told, into in ((clicks, behaviour.clicks), (exposures, behaviour.exposures)):
        for (decision, placement, candidate), customer, time in told:
            numbers = names.decisions[decision], names.placements[placement], names.candidates[candidate]
            into.add(*numbers, names.customers[customer], time)
    for each in orders:
        behaviour.orders.append(touches.Order(each.id, names.customers[each.customer], each.time, each.revenue))
    found = credit(behaviour, windows or {})
    texts = [list(it) for it in (names.decisions, names.placements, names.candidates)]
    columns = zip(found.decision.tolist(), found.placement.tolist(), found.candidate.tolist(), strict=True)
    return Credited(found, [(texts[0][one], texts[1][two], texts[2][three]) for one, two, three in columns])


def test_a_click_rewards_its_own_decision_placement_and_candidate_alone() -> None:
    seen = [touch(0), touch(0, placement=GRID), touch(0, candidate="bag"), touch(0, decision="e")]
    found = attribute(seen, clicks=(touch(MINUTE),)).credits
    assert [found[each.key].clicked for each in seen] == [NOON + MINUTE, None, None, None]


def test_a_click_that_came_twice_counts_once_and_a_delayed_one_by_when_it_happened() -> None:
    found = attribute([touch(0), touch(5)], clicks=(touch(9 * MINUTE), touch(MINUTE), touch(MINUTE)))
    assert found.credits[touch(0).key].clicked == NOON + MINUTE
    assert (found.found.unseen_clicks, found.found.late_clicks) == (0, 0)


def test_a_click_after_the_window_is_none_and_one_without_an_exposure_is_counted() -> None:
    found = attribute([touch(0)], clicks=(touch(LONGEST_CLICK + 1), touch(0, candidate="unseen")))
    assert found.credits[touch(0).key].clicked is None
    assert (found.found.unseen_clicks, found.found.late_clicks) == (1, 1)
    short = attribute([touch(0)], clicks=(touch(MINUTE),), windows={HERO: Window(click=MINUTE - 1)})
    assert short.credits[touch(0).key].clicked is None


def test_a_click_told_before_its_exposure_shows_that_it_was_seen() -> None:
    found = attribute([touch(10)], clicks=(touch(0),))
    assert found.credits[touch(0).key].clicked == NOON
    assert found.found.click_delay == 0


def test_an_order_goes_to_what_was_clicked_last_else_to_what_was_seen_last() -> None:
    first, second, third = (touch(at * DAY, decision=f"d-{at}") for at in range(3))
    by_view = attribute([first, second, third], orders=(order(2 * DAY + 1),))
    assert [by_view.credits[each.key].orders for each in (first, second, third)] == [0, 0, 1]
    clicked = attribute([first, second, third], clicks=(touch(MINUTE, "d-0"),), orders=(order(2 * DAY + 1),))
    assert [clicked.credits[each.key].orders for each in (first, second, third)] == [1, 0, 0]


def test_an_order_counts_once_in_each_placement_of_its_customer() -> None:
    hero, grid, other = touch(0), touch(1, placement=GRID), touch(2, who="somebody")
    found = attribute([hero, grid, other], orders=(order(DAY),))
    assert [found.credits[each.key].revenue for each in (hero, grid)] == [10.0, 10.0]
    strange = attribute([touch(0, decision="x", who="somebody")], orders=(order(DAY),))
    assert (strange.credits[touch(0, decision="x").key].orders, strange.found.unclaimed) == (0, 1)


def test_an_order_before_the_exposure_or_after_its_window_is_nobodys() -> None:
    for at in (-1, CONVERSION + 1):
        found = attribute([touch(0)], orders=(order(at),))
        assert (found.credits[touch(0).key].orders, found.found.unclaimed) == (0, 1)
    longer = attribute([touch(0)], orders=(order(CONVERSION + 1),), windows={HERO: Window(conversion=2 * CONVERSION)})
    assert longer.credits[touch(0).key].orders == 1


def test_an_order_told_twice_counts_once() -> None:
    found = attribute([touch(0)], orders=(order(2), order(1, revenue=7.0), order(3)))
    assert (found.credits[touch(0).key].orders, found.credits[touch(0).key].revenue) == (1, 7.0)
    assert found.found.repeated == 2


def test_refunds_subtract_and_what_was_sent_back_whole_is_no_conversion() -> None:
    part = attribute([touch(0)], orders=(order(1),), refunds=(Refund("o-1", 4.0), Refund("o-1", 1.0)))
    assert (part.credits[touch(0).key].orders, part.credits[touch(0).key].revenue) == (1, 5.0)
    whole = attribute([touch(0)], orders=(order(1),), refunds=(Refund("o-1", float("inf")),))
    assert (whole.credits[touch(0).key].orders, whole.credits[touch(0).key].revenue) == (0, 0.0)


def test_a_window_is_open_until_it_ends_and_a_click_closes_its_own() -> None:
    window = Window(click=MINUTE)
    found = attribute([touch(0), touch(0, decision="e")], clicks=(touch(1),), windows={HERO: window})
    waiting, clicked = touch(0, decision="e").key, touch(0).key
    assert found.is_open(waiting, "click", NOON + MINUTE - 1)
    assert not found.is_open(waiting, "click", NOON + MINUTE)
    assert not found.is_open(clicked, "click", NOON + 1)
    assert found.is_open(clicked, "conversion", NOON + CONVERSION - 1)


def test_without_a_window_clicks_are_waited_for_as_long_as_they_take() -> None:
    exposures = [touch(0, decision=f"d-{at}") for at in range(200)]
    clicks = tuple(touch(1000 * at, decision=f"d-{at}") for at in range(100))
    found = attribute(exposures, clicks)
    assert found.found.click_delay == 99_000
    assert found.is_open(exposures[150].key, "click", NOON + 98_999)
    assert not found.is_open(exposures[150].key, "click", NOON + 99_000)


Times = st.integers(0, 10 * DAY)
Seen = st.lists(st.tuples(Times, st.integers(0, 3), st.booleans()), max_size=12)


@given(
    st.lists(st.tuples(Times, st.integers(0, 3), st.booleans()), max_size=12),
    st.lists(Times, max_size=6),
    st.randoms(use_true_random=False),
)
def test_every_order_is_credited_at_most_once_a_placement_in_any_order_of_arrival(
    seen: list[tuple[int, int, bool]], bought: list[int], chance: random.Random
) -> None:
    exposures = [touch(at, f"d-{of}", GRID if grid else HERO) for at, of, grid in seen]
    orders = tuple(order(at, name=f"o-{number}") for number, at in enumerate(bought))
    found = attribute(exposures, orders=orders)
    for placement in (HERO, GRID):
        credited = sum(each.orders for key, each in found.credits.items() if key[1] == placement)
        times = [each.time for each in exposures if each.key[1] == placement]
        expected = sum(any(0 <= each.time - time <= CONVERSION for time in times) for each in orders)
        assert credited == expected
    chance.shuffle(exposures)
    assert attribute(exposures, orders=orders[::-1]).credits == found.credits


def naive(exposures: list[Touch], clicks: list[Touch], orders: list[Order], window: Window) -> dict[Key, Credit]:
    """The same by going through everything again and again."""
    keys = {each.key for each in exposures}
    seen = {key: min(each.time for each in exposures if each.key == key) for key in keys}
    longest = LONGEST_CLICK if window.click is None else window.click
    counted = [each for each in clicks if each.key in keys and each.time - seen[each.key] <= longest]
    credited: dict[Key, list[float]] = {key: [] for key in keys}
    for sold in sorted(
        {each.id: each for each in sorted(orders, key=lambda it: -it.time)}.values(), key=lambda it: it.time
    ):
        for placement in (HERO, GRID):
            for told in (counted, exposures):
                fitting = [
                    (each.time, each.key)
                    for each in told
                    if each.customer == sold.customer
                    and each.key[1] == placement
                    and 0 <= sold.time - each.time <= window.conversion
                ]
                if fitting:
                    credited[max(fitting)[1]].append(sold.revenue)
                    break
    return {
        key: Credit(
            seen[key],
            min((each.time for each in counted if each.key == key), default=None),
            len(credited[key]),
            float(np.sum(credited[key])) if credited[key] else 0.0,
        )
        for key in keys
    }


Somebody = st.sampled_from(["c", "b", "a"])
Told = st.lists(
    st.builds(
        lambda time, decision, placement, candidate, who: touch(time * MINUTE, decision, placement, candidate, who),
        st.integers(0, 90),
        st.sampled_from(["d-10", "d-9", "d"]),
        st.sampled_from([HERO, GRID]),
        st.sampled_from(["shoes", "bag"]),
        Somebody,
    ),
    max_size=12,
)
Bought = st.lists(
    st.builds(
        lambda time, name, who: order(time * MINUTE, 10.0, f"o-{name}", who),
        st.integers(0, 120),
        st.integers(0, 3),
        Somebody,
    ),
    max_size=6,
    unique_by=lambda each: each.time,
)


@given(Told, Told, Bought, st.sampled_from([Window(), Window(click=10 * MINUTE, conversion=40 * MINUTE)]))
def test_credits_are_those_of_going_through_everything(
    seen: list[Touch], clicks: list[Touch], bought: list[Order], window: Window
) -> None:
    found = attribute(seen, tuple(clicks), tuple(bought), windows={HERO: window, GRID: window})
    assert found.credits == naive(seen, clicks, bought, window)
    assert found.found.unclaimed + found.found.orders.sum() >= len({each.id for each in bought})
