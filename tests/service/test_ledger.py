"""Caps, budgets and stock by real services: no number of page views at once overshoots, whatever is lost meanwhile."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from features import ledger
from features.home import Home
from service.decisions.attention import HOLD_SECONDS
from tests.service import running, shop
from tests.service.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.running import Service

AT_ONCE = 10
BOUNDED = ["o-1", "o-2", "o-4", "o-5", "o-7"]


def catalog() -> dict[str, Any]:
    document = copy.deepcopy(shop.CATALOG)
    for offer in document["candidates"]:
        if offer["id"] == "o-8":
            offer["stock"] = 7
        if offer["id"] == "o-10":
            offer["personal_window"] = "1h"
    document["placements"] += [
        {"id": "stall", "limit": 1, "default": "o-0", "candidates": ["o-8", "o-0"], "pinned": ["o-8"]},
        {"id": "shelf", "limit": 3, "default": "o-0", "candidates": [*BOUNDED, "o-0", "o-3"], "exploration": 0.3},
        {"id": "once", "limit": 1, "default": "o-0", "candidates": ["o-11", "o-0"], "pinned": ["o-11"]},
        {"id": "spring", "limit": 1, "default": "o-0", "candidates": ["o-10", "o-0"], "pinned": ["o-10"]},
    ]
    document["caps"] = [
        {"id": "each", "per": ["customer", "candidate"], "limit": 2, "period": "1d", "scope": {"candidates": BOUNDED}},
        {"id": "hats", "per": ["customer", "category"], "limit": 3, "period": "1d", "scope": {"candidates": BOUNDED}},
        {"id": "once", "per": ["customer"], "limit": 1, "period": "1d", "scope": {"candidates": ["o-11"]}},
    ]
    document["budgets"] = [{"id": "shelf", "limit": 60, "period": "1d", "scope": {"candidates": BOUNDED}}]
    return document


@pytest.fixture(scope="module")
def shop_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = Home(tmp_path_factory.mktemp("ledger") / "home")
    shop.write_catalog(home, catalog())
    shop.publish(home, "1")
    started = running.start(home)
    yield started
    running.stop(started)


def items(answer: dict[str, Any], placement: int = 0) -> list[str]:
    return [item["id"] for item in answer["placements"][placement]["items"]]


def at_once(calls: int, work: Any) -> list[Any]:
    """Results of `work(number)`, all begun together."""
    gate = threading.Barrier(calls)

    def begin(number: int) -> Any:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(begin, range(calls)))


def see(service: Service, customer: str, answer: dict[str, Any], placement: str, candidate: str) -> None:
    properties = {"decision_id": answer["decision_id"], "placement": placement, "promotion_id": candidate}
    service.track(customer, "Promotion Viewed", **properties)
    service.features(customer)  # waits for the worker, which tells the ledger


def test_page_views_at_once_do_not_overshoot_a_customers_caps(shop_service: Service) -> None:
    for round_ in range(4):
        customer = f"eager-{round_}"
        answers = at_once(AT_ONCE, lambda _, customer=customer: shop_service.decide(customer, "shelf"))
        answers += [shop_service.decide(customer, "shelf") for _ in range(4)]
        shown = Counter(text for answer in answers for text in items(answer) if text in BOUNDED)
        assert max(shown.values(), default=0) <= 2
        categories = Counter(shop.OFFERS.index(text) % 3 for text in shown.elements())
        assert max(categories.values(), default=0) <= 3
        assert sum(shown.values()) >= 3  # and what was free was given
        assert all(items(answer) for answer in answers)


def test_stock_and_budgets_hold_for_all_customers_together(shop_service: Service) -> None:
    answers = [
        answer
        for round_ in range(3)
        for answer in at_once(AT_ONCE, lambda number, r=round_: shop_service.decide(f"s-{r}-{number}", "stall"))
    ]
    assert Counter(items(answer)[0] for answer in answers) == {"o-8": 7, "o-0": 23}
    answers = [
        answer
        for round_ in range(4)
        for answer in at_once(AT_ONCE, lambda number, r=round_: shop_service.decide(f"b-{r}-{number}", "shelf"))
    ]
    with shop_service.connect() as redis:
        counted = [redis.hvals(key) for key in redis.scan_iter(ledger.shared_key("shelf") + "*")]
    assert [int(value) for [value] in counted] == [60]
    assert 0 < sum(text in BOUNDED for answer in answers for text in items(answer)) <= 60


def test_a_retry_takes_up_nothing_more(shop_service: Service) -> None:
    first = [shop_service.decide("retrying", "once", decision_id="retry-1") for _ in range(3)]
    assert [items(answer) for answer in first] == [["o-11"]] * 3
    assert items(shop_service.decide("retrying", "once")) == ["o-0"]


def test_what_is_seen_counts_and_what_is_not_is_given_again(shop_service: Service) -> None:
    seen = shop_service.decide("seeing", "once")
    unseen = shop_service.decide("blind", "once")
    assert items(seen) == items(unseen) == ["o-11"]
    see(shop_service, "seeing", seen, "once", "o-11")
    with shop_service.connect() as redis:
        for customer in ("seeing", "blind"):  # as if the time to look were over
            for name, value in redis.hgetall(ledger.customer_key(customer)).items():
                if name != b"revision":
                    parts = value.split(b",")
                    parts[0] = str(int(parts[0]) - (HOLD_SECONDS + 1) * 1_000_000).encode()
                    redis.hset(ledger.customer_key(customer), name, b",".join(parts))
    assert items(shop_service.decide("seeing", "once")) == ["o-0"]
    assert items(shop_service.decide("blind", "once")) == ["o-11"]


def test_stock_that_nobody_saw_comes_back(shop_service: Service) -> None:
    with shop_service.connect() as redis:
        let_lapse(shop_service)
        wait_until(lambda: items(shop_service.decide("late", "stall")) == ["o-8"])
        counted = [
            int(value) for key in redis.scan_iter(ledger.shared_key("stock") + "*") for value in redis.hvals(key)
        ]
        assert all(0 <= value <= 7 for value in counted)


def test_what_is_seen_late_counts_once_for_everybody(shop_service: Service) -> None:
    answer = shop_service.decide("tardy", "shelf")
    shown = [text for text in items(answer) if text in BOUNDED]

    def spent() -> int:
        with shop_service.connect() as redis:
            keys = redis.scan_iter(ledger.shared_key("shelf") + "*")
            return sum(int(value) for key in keys for value in redis.hvals(key))

    assert shown
    let_lapse(shop_service)
    before = spent()
    for _ in range(2):
        see(shop_service, "tardy", answer, "shelf", shown[0])
    assert spent() == before + 1


def let_lapse(service: Service) -> None:
    """As if the time to look at anything that was answered were over."""
    with service.connect() as redis:
        for name, _ in redis.zscan_iter(ledger.PENDING):
            redis.zadd(ledger.PENDING, {name: 1})
        wait_until(lambda: not redis.zcard(ledger.PENDING))


def test_what_lapsed_long_ago_is_forgotten(shop_service: Service) -> None:
    shop_service.decide("tardy", "shelf")
    let_lapse(shop_service)
    with shop_service.connect() as redis:
        assert redis.zcard(ledger.LAPSING) == redis.hlen(ledger.LAPSED) > 0
        for name, _ in redis.zscan_iter(ledger.LAPSING):
            redis.zadd(ledger.LAPSING, {name: 1})
        wait_until(lambda: not redis.exists(ledger.LAPSING, ledger.LAPSED))


def test_contacts_go_with_the_customer_who_signs_in(shop_service: Service) -> None:
    answer = shop_service.decide("", "once", customer_id=None, anonymous_id="phone")
    assert items(answer) == ["o-11"]
    token = shop_service.post("/v1/identify", {"userId": "signed-in", "anonymousId": "phone"}).json()["token"]
    again = shop_service.decide("signed-in", "once", after=token)
    assert items(again) == ["o-0"]


def test_a_personal_window_starts_when_the_offer_is_seen(shop_service: Service) -> None:
    first = shop_service.decide("windowed", "spring")
    [item] = first["placements"][0]["items"]
    assert item["id"] == "o-10"
    see(shop_service, "windowed", first, "spring", "o-10")
    ends = {shop_service.decide("windowed", "spring")["placements"][0]["items"][0]["expires_at"] for _ in range(2)}
    assert len(ends) == 1
    with shop_service.connect() as redis:
        key = ledger.customer_key("windowed")
        [name] = [name for name in redis.hkeys(key) if name.startswith(b"first:")]
        redis.hset(key, name, int(redis.hget(key, name) or 0) - 3_601_000_000)
    assert items(shop_service.decide("windowed", "spring")) == ["o-0"]


def test_a_forgotten_customer_has_no_contacts(shop_service: Service) -> None:
    shop_service.decide("forgettable", "once")
    with shop_service.connect() as redis:
        assert redis.exists(ledger.customer_key("forgettable"))
        report = shop_service.http.delete("/v1/customers/forgettable").json()
        assert report["contacts"] == 1
        assert not redis.exists(ledger.customer_key("forgettable"))
