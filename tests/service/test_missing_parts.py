"""Parts that are really taken away: decisions go on, nothing acknowledged is lost, and all of it counts once."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from features import stream
from features.events.schema import Decision, Track, decode
from features.store import OnlineStore
from tests.service import shop
from tests.service.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.running import Service

SOON = 400
"""Milliseconds until a decision is due while Redis is away."""


@pytest.fixture
def whole(service: Service) -> Iterator[Service]:
    """Everything works before the test, and again after it."""
    recover(service)
    yield service
    recover(service)


def recover(service: Service) -> None:
    service.everywhere(lambda ready: ready["ready"] and not ready["problems"])
    for part in service.apis:
        with service.at(part) as there:
            wait_until(partial(decides_by_model, there))


def decides_by_model(service: Service) -> bool:
    return bool(service.decide("recovered")["rung"] == "model")


def view(customer: str, message_id: str) -> dict[str, Any]:
    properties = {"product_id": "o-1"}
    return {"userId": customer, "event": "Product Viewed", "messageId": message_id, "properties": properties}


def accepted(service: Service, event: dict[str, Any]) -> bool:
    return service.post("/v1/track", event).status_code == 200


def assert_counted_once(service: Service, customer: str, message_ids: set[str]) -> None:
    """Each of these views, and no other, is in the archive and in the features once."""
    wait_until(lambda: service.features(customer).get("customer__product_viewed__count_1d") == len(message_ids))
    archived = Counter(name for name, payload in service.archived(customer) if isinstance(decode(payload), Track))
    assert archived == Counter(message_ids)


def test_while_redis_hangs_decisions_are_made_events_wait_and_afterwards_all_is_counted_once(whole: Service) -> None:
    service = whole
    customer = "frozen-1"
    assert accepted(service, view(customer, "frozen-0"))
    wait_until(lambda: service.decide(customer)["features_as_of"])
    made: list[str] = []
    with service.frozen("redis"):
        for number in range(12):
            answer = service.decide(
                customer, "grid", deadline_ms=SOON, decision_id=f"frozen-d{number}" if number % 2 else None
            )
            assert answer["rung"] == "prior"
            assert len(answer["placements"][0]["items"]) == 4
            assert answer["features_as_of"] is None
            made.append(answer["decision_id"])
        inline = view(customer, "frozen-inline") | {"messageId": "frozen-inline"}
        made.append(service.decide(customer, deadline_ms=SOON, events=[inline])["decision_id"])
        for path, body in (
            ("/v1/track", view(customer, "frozen-1")),
            ("/v1/batch", {"batch": [view(customer, "frozen-2") | {"type": "track"}, "bad"]}),
        ):
            reply = service.post(path, body)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.json()["title"] == "Events cannot be kept now"
        assert service.get("/health").status_code == 200
        assert service.get("/ready").status_code == 200
        wait_until(lambda: "snapshot" in service.get("/ready").json()["problems"])
    for message_id in ("frozen-1", "frozen-2"):
        wait_until(partial(accepted, service, view(customer, message_id)))
    recover(service)

    def logged() -> Counter[str]:
        return Counter(decision.decision_id for decision in service.logged(customer) if decision.decision_id)

    wait_until(lambda: set(made) <= set(logged()))
    assert set(logged().values()) == {1}
    assert_counted_once(service, customer, {"frozen-0", "frozen-1", "frozen-2", "frozen-inline"})


def test_a_killed_redis_comes_back_with_everything_that_was_acknowledged(whole: Service) -> None:
    service = whole
    customer = "killed-1"
    for number in range(20):
        assert accepted(service, view(customer, f"killed-{number}"))
    service.kill("redis")
    answer = service.decide(customer, deadline_ms=SOON)
    assert len(answer["placements"][0]["items"]) == 1
    for number in range(20, 25):
        wait_until(partial(accepted, service, view(customer, f"killed-{number}")))
    recover(service)
    assert_counted_once(service, customer, {f"killed-{number}" for number in range(25)})
    wait_until(lambda: answer["decision_id"] in {decision.decision_id for decision in service.logged(customer)})


def test_decisions_spilled_by_a_process_that_dies_are_appended_by_another(whole: Service) -> None:
    service = whole
    with service.frozen("redis"):
        made = [service.decide("orphan-1", deadline_ms=SOON)["decision_id"] for _ in range(6)]
        before = service.pid("api-0"), service.pid("api-1")
        service.kill("api-0", "api-1")
        wait_until(lambda: service.pid("api-0") != before[0] and service.pid("api-1") != before[1])
    recover(service)
    wait_until(lambda: sorted(d.decision_id or "" for d in service.logged("orphan-1")) == sorted(made))


def test_after_everything_was_killed_at_once_all_that_was_acknowledged_is_there_once(whole: Service) -> None:
    """The sender does what client libraries do: it sends an event again until it is acknowledged."""
    service = whole
    customers = [f"massacre-{number}" for number in range(4)]
    acknowledged: dict[str, set[str]] = {customer: set() for customer in customers}
    done = threading.Event()

    def send(customer: str) -> None:
        number = 0
        while not done.is_set():
            try:
                taken = accepted(service, view(customer, f"{customer}-{number}"))
            except httpx.HTTPError:
                continue
            if taken:
                acknowledged[customer].add(f"{customer}-{number}")
                number += 1

    def have(count: int) -> bool:
        return all(len(names) >= count for names in acknowledged.values())

    threads = [threading.Thread(target=send, args=(customer,)) for customer in customers]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: have(30))
        service.kill("redis", "worker", "api-0", "api-1")
        count = max(len(names) for names in acknowledged.values())
        wait_until(lambda: have(count + 30))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    recover(service)
    for customer in customers:
        assert_counted_once(service, customer, acknowledged[customer])


def test_while_the_worker_hangs_decisions_have_the_last_click(whole: Service) -> None:
    service = whole
    wait_until(lambda: accepted(service, view("hanging-1", "hanging-0")))
    with service.frozen("worker"):
        tokens = [service.track("hanging-1", "Product Viewed", product_id=shop.OFFERS[at]) for at in range(3)]
        answers = [service.decide("hanging-1"), service.decide("hanging-1", after=tokens[-1])]
    _, last = stream.parse_token(tokens[-1])
    for answer in answers:
        as_of = datetime.fromisoformat(answer["features_as_of"]).timestamp()
        assert (answer["rung"], round(as_of * 1e6)) == ("model", last)
    logged = [decision.state for decision in service.logged("hanging-1")]
    row = OnlineStore(service.home, service.redis_url).read("customer", ["hanging-1"])[0]
    assert row is not None
    assert row.applied == last
    written = (row.numbers.tobytes(), row.ids.tobytes())
    assert [(state.numbers, state.ids) for state in logged if state is not None] == [written, written]


def test_a_killed_worker_takes_up_where_it_was(whole: Service) -> None:
    service = whole
    for number in range(10):
        assert accepted(service, view("worker-1", f"worker-{number}"))
    service.kill("worker")
    for number in range(10, 15):
        assert accepted(service, view("worker-1", f"worker-{number}"))
        assert service.decide("worker-1")["rung"] == "model"
    assert_counted_once(service, "worker-1", {f"worker-{number}" for number in range(15)})


def test_the_archive_holds_every_event_of_this_service_once(whole: Service) -> None:
    """Over everything that the tests above did to it."""
    for customer in ("frozen-1", "killed-1", "orphan-1", "worker-1", *shop.OFFERS):
        archived = whole.archived(customer)
        assert len({name for name, _ in archived}) == len(archived)
        for _, payload in archived:
            event = decode(payload)
            assert event.customer == customer
            assert not isinstance(event, Decision) or event.placements
