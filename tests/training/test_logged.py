"""Labels from exposures and clicks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from features.events.schema import Identify
from tests.training.archives import PRODUCTS, LiveShop, product, track, visits, write
from training import logged
from training.labels import TrainingError

if TYPE_CHECKING:
    from features.home import Home


def signal(shop: LiveShop, event: str, decision: str, place: int, placement: str = "hero") -> None:
    properties = {"decision_id": decision, "placement": placement, "promotion_id": PRODUCTS[place]}
    at = shop.tick(0.2)
    shop.happen(track("c-1", at, event, properties))


@pytest.fixture
def shop() -> LiveShop:
    shop = LiveShop()
    shop.happen(track("c-1", shop.tick(1.0), "Product Viewed", product(3)))
    shop.take_snapshot()
    return shop


def test_what_was_seen_is_a_row_and_a_click_rewards_it(home: Home, shop: LiveShop) -> None:
    decision = shop.decide("c-1", {"hero": [1], "grid": [2, 3, 4]}, [])
    for placement, place in (("hero", 1), ("grid", 2), ("grid", 3)):
        signal(shop, "Promotion Viewed", decision, place, placement)
    signal(shop, "Promotion Clicked", decision, 3, "grid")
    write(home, shop.events, partition=0)
    queries = logged.label(home)
    assert queries.placement == ["hero", "grid"]
    assert queries.device == ["mobile", "mobile"]
    assert queries.owner.tolist() == [0, 1, 1]
    assert [queries.candidates[at] for at in queries.candidate] == [PRODUCTS[at] for at in (1, 2, 3)]
    assert queries.rewarded.tolist() == [False, False, True]


def test_order_and_repetition_of_exposures_and_clicks_do_not_matter(home: Home, shop: LiveShop) -> None:
    decision = shop.decide("c-1", {"hero": [1]}, [])
    for event in ("Promotion Clicked", "Promotion Viewed", "Promotion Viewed", "Promotion Clicked"):
        signal(shop, event, decision, 1)
    write(home, shop.events, partition=0)
    queries = logged.label(home)
    assert queries.rewarded.tolist() == [True]
    assert logged.read_shown(home).attributed.unseen_clicks == 0


def test_what_was_not_seen_not_served_or_not_decided_is_left_out(home: Home, shop: LiveShop) -> None:
    unseen = shop.decide("c-1", {"hero": [1]}, [])
    signal(shop, "Promotion Clicked", unseen, 1)
    seen = shop.decide("c-1", {"hero": [2]}, [])
    signal(shop, "Promotion Viewed", seen, 2)
    signal(shop, "Promotion Viewed", seen, 9)
    signal(shop, "Promotion Viewed", seen, 2, "elsewhere")
    signal(shop, "Promotion Viewed", "unknown", 2)
    shop.happen(track("c-1", shop.tick(1.0), "Promotion Viewed", {"promotion_id": PRODUCTS[2], "decision_id": 7}))
    write(home, shop.events, partition=0)
    queries = logged.label(home)
    assert [queries.candidates[at] for at in queries.candidate] == [PRODUCTS[2]]
    assert logged.read_shown(home).attributed.unseen_clicks == 1


def test_the_customer_is_asked_for_at_the_row_that_the_decision_read(home: Home, shop: LiveShop) -> None:
    seen = shop.events[1].received
    decisions = [shop.decide(customer, {"hero": [1]}, []) for customer in ("c-1", "stranger")]
    for decision in decisions:
        signal(shop, "Promotion Viewed", decision, 1)
    write(home, shop.events, partition=0)
    queries = logged.label(home)
    assert queries.customers == ["c-1", "stranger"]
    assert queries.customer_at.tolist() == [seen, 0]
    assert (queries.candidate_at < queries.now).all()


def test_hours_are_those_of_the_contexts_time_zone(home: Home) -> None:
    visits(home, count=3)
    queries = logged.label(home)
    assert set(queries.hour) == {1.0}  # midnight in UTC, one o'clock in Madrid


def test_without_exposures_the_error_says_what_is_missing(home: Home, shop: LiveShop) -> None:
    shop.decide("c-1", {"hero": [1]}, [])
    write(home, shop.events, partition=0)
    with pytest.raises(TrainingError, match="no exposures to learn from"):
        logged.label(home)


def later(shop: LiveShop, seconds: float) -> None:
    """Time passes: something happens to somebody else."""
    shop.happen(track("nobody", shop.tick(seconds), "Visit Ended", {}))


def buy(shop: LiveShop, customer: str, name: str, revenue: float) -> None:
    properties = {"order_id": name, "revenue": revenue, "products": [product(1)]}
    shop.happen(track(customer, shop.tick(1.0), "Order Completed", properties))


def test_orders_and_their_revenue_are_rewards_when_asked_for(home: Home, shop: LiveShop) -> None:
    bought = shop.decide("c-1", {"hero": [1]}, [])
    signal(shop, "Promotion Viewed", bought, 1)
    buy(shop, "c-1", "o-1", 30.0)
    buy(shop, "c-1", "o-1", 30.0)
    shop.happen(track("c-1", shop.tick(1.0), "Order Refunded", {"order_id": "o-1", "total": 12.0}))
    later(shop, 8 * 86_400)
    unbought = shop.decide("c-1", {"hero": [2]}, [])
    signal(shop, "Promotion Viewed", unbought, 2)
    write(home, shop.events, partition=0)
    assert logged.label(home).rewarded.tolist() == [False, False]
    conversions = logged.label(home, "conversion")
    assert conversions.rewarded.tolist() == [True]  # the other one's window is open
    assert conversions.reward == "conversion"
    revenue = logged.label(home, "revenue")
    assert revenue.amount is not None
    assert revenue.amount.tolist() == [18.0]


def test_windows_are_the_placements_and_open_ones_teach_nothing(home: Home, shop: LiveShop) -> None:
    decision = shop.decide("c-1", {"hero": [1]}, [])
    signal(shop, "Promotion Viewed", decision, 1)
    write(home, shop.events, partition=0)
    with pytest.raises(TrainingError, match="all 1 exposures may still be rewarded"):
        logged.label(home, "conversion")
    home.catalog.write_text("placements: [{id: hero, attribution: {click: 30s, conversion: 0s}}]")
    assert logged.label(home, "conversion").rewarded.tolist() == [False]
    with pytest.raises(TrainingError, match="all 1 exposures may still be rewarded"):
        logged.label(home, "click")
    home.catalog.write_text("placements: [{id: hero, attribution: {click: soon}}]")
    with pytest.raises(TrainingError, match="attribution of placement 'hero': 'soon' is no duration"):
        logged.label(home)


def test_what_was_seen_before_signing_in_is_rewarded_by_what_was_bought_after(home: Home, shop: LiveShop) -> None:
    decision = shop.decide("a-9", {"hero": [1]}, [])
    properties = {"decision_id": decision, "placement": "hero", "promotion_id": PRODUCTS[1]}
    shop.happen(track("a-9", shop.tick(0.2), "Promotion Viewed", properties))
    at = shop.tick(1.0)
    link = Identify(message_id="i-1", customer="a-9", user_id="c-9", anonymous_id="a-9", time=at, received=at)
    shop.events.append(link)
    buy(shop, "c-9", "o-9", 5.0)
    later(shop, 8 * 86_400)
    write(home, shop.events, partition=0)
    assert logged.label(home, "conversion").rewarded.tolist() == [True]


def test_positions_and_logged_states_come_with_the_queries(home: Home, shop: LiveShop) -> None:
    decision = shop.decide("c-1", {"grid": [2, 3, 4]}, [])
    for place in (4, 2):
        signal(shop, "Promotion Viewed", decision, place, "grid")
    write(home, shop.events, partition=0)
    queries = logged.label(home, with_states=True)
    assert queries.position is not None
    assert queries.position.tolist() == [1, 3]
    assert queries.states is not None
    assert list(queries.states) == [0]
    assert logged.label(home).states is None
