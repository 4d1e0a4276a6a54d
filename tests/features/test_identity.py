"""Ids that are joined end in the same customer as if they had been known from the start, whatever the order."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from features import history, stream
from features.aggregates.declared import TOTAL
from features.events.schema import Alias, Event, Identify, Joined
from features.ids import digest
from tests.features.behaviour import PRODUCTS, PROMOTIONS, behave
from tests.features.crashing import Crash, Plan, put_on, restart
from tests.features.deployment import PARTITIONS, deployed, now
from tests.features.oracle import Features, Oracle, approximately, close

if TYPE_CHECKING:
    from features.aggregates.rows import Row
    from features.embedded import Server
    from tests.features.deployment import Deployment

KNOWN = ["ada", "bert", "cleo"]
PHONES, LAPTOPS = ["phone-1", "phone-2", "phone-3"], ["laptop-1", "laptop-2"]
IDS = [*KNOWN, *PHONES, *LAPTOPS]
OWNERS = {"phone-1": "ada", "laptop-1": "ada", "phone-2": "bert", "laptop-2": "bert", "bert": "cleo"}
"""Who joins whom: two devices of one customer, a chain, and ids that nobody joins."""


def root(customer: str) -> str:
    while customer in OWNERS:
        customer = OWNERS[customer]
    return customer


def link(customer: str, owner: str, at: int, number: int) -> Event:
    common: dict[str, Any] = {"customer": customer, "user_id": owner, "time": at, "received": at}
    if number % 2:
        return Alias(message_id=f"m-link-{number}", previous_id=customer, **common)
    return Identify(message_id=f"m-link-{number}", anonymous_id=customer, traits={"plan": "gold"}, **common)


def live(seed: int, size: int, links: dict[str, str]) -> list[Event]:
    """What the ids did, with links in between, some of them told again and again."""
    chance = random.Random(seed)
    events = [
        msgspec.structs.replace(event, customer=chance.choice(IDS) if event.customer else "")
        for event in behave(seed, size, now(), late=0.2)
    ]
    for number, (customer, owner) in enumerate([*links.items()] * 2):
        place = chance.randrange(len(events) + 1)
        at = events[min(place, len(events) - 1)].received
        events.insert(place, link(customer, owner, at, number))
    return events


def unsettled(features: Features) -> Features:
    """All but how many events lie between: of two merged histories nobody knows how they interlock."""
    return {name: value for name, value in features.items() if not name.endswith("_since")}


def assert_customers_are_the_oracles(rows: dict[str, Row], events: list[Event], at: float) -> None:
    """Every root is the customer it would be, had each event been sent for it; those it has taken over are empty."""
    oracle = Oracle([msgspec.structs.replace(event, customer=root(event.customer)) for event in events])
    for number, customer in enumerate(IDS):
        row = rows[customer]
        candidate = [*PRODUCTS, *PROMOTIONS][number * 2]
        assert row.owner == OWNERS.get(customer, "")
        closed = close("customer", row, at, candidate, "hats")
        expected = oracle.customer(customer, at, candidate, "hats")
        assert unsettled(closed) == approximately(unsettled(expected))


def assert_candidates_are_the_oracles(deployment: Deployment, events: list[Event], at: float) -> None:
    oracle, snapshot = Oracle(events), deployment.snapshot_rows()
    for candidate in [TOTAL, "p-1", "p-2", "o-1"]:
        closed = close("candidate", snapshot.get(("candidate", digest(candidate))), at)
        assert closed == approximately(oracle.candidate(candidate, at))


def assert_history_is_what_was_live(deployment: Deployment) -> None:
    """A rebuild from the archive ends in the same rows, to the bit where nothing was handed on meanwhile."""
    rebuilt = history.rebuild(deployment.home)
    online = deployment.store.load_customers(IDS)
    for customer in IDS:
        if (again := rebuilt.customers.get(customer)) is None:
            assert not online[customer].owner
            continue
        assert (again.owner, again.assignment) == (online[customer].owner, online[customer].assignment)
        assert again.traits == online[customer].traits
        at = now() / 1e6
        assert close("customer", again, at, "p-1", "hats") == approximately(
            close("customer", online[customer], at, "p-1", "hats")
        )


def assert_each_event_is_archived_once(deployment: Deployment, events: list[Event]) -> None:
    """Under the id that it belonged to when it came."""
    archived = [event for _, _, event in deployment.archived() if event.message_id.startswith("m-")]
    assert sorted(event.message_id for event in archived) == sorted(event.message_id for event in events)
    for event in archived:
        if event.via:
            assert root(event.via[0][0]) == root(event.customer)


@pytest.mark.parametrize("seed", range(8))
def test_links_in_any_order_end_in_the_customers_that_were_meant(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = live(seed, 5 + 25 * seed, OWNERS)
        deployment.live_on(random.Random(seed), events)
        deployment.drain()
        deployment.snapshot()
        deployment.drain()
        at = now() / 1e6
        assert_customers_are_the_oracles(deployment.store.load_customers(IDS), events, at)
        assert_candidates_are_the_oracles(deployment, events, at)
        assert_each_event_is_archived_once(deployment, events)
        assert_history_is_what_was_live(deployment)


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_at_any_request_joins_each_id_once(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = live(seed, 70, OWNERS)
        deployment.append(events)
        for _ in range(25):
            plan = Plan()
            put_on(deployment, plan)
            plan.left, plan.share = chance.randrange(45), chance.choice([0.0, chance.random(), 1.0])
            with suppress(Crash):
                deployment.work(chance.choice([3, 10]))
                deployment.snapshot()
                deployment.flush()
            deployment = restart(deployment)
        deployment.drain()
        deployment.snapshot()
        deployment.drain()
        at = now() / 1e6
        assert_customers_are_the_oracles(deployment.store.load_customers(IDS), events, at)
        assert_candidates_are_the_oracles(deployment, events, at)
        assert_each_event_is_archived_once(deployment, events)
        assert_history_is_what_was_live(deployment)
        deployment.close()


def orders(deployment: Deployment, customer: str) -> float:
    """How many events the id's row holds, by a feature that counts all."""
    row = deployment.store.load_customers([customer])[customer]
    return close("customer", row, now() / 1e6)["customer__product_viewed__decayed_7d"]


def views(customer: str, count: int, start: int) -> list[Event]:
    """So many views, with message ids of their own from `start` on."""
    [template, *_] = [event for event in behave(1, 50, 0) if getattr(event, "event", "") == "Product Viewed"]
    return [
        msgspec.structs.replace(template, customer=customer, message_id=f"m-{number}", time=now(), received=now())
        for number in range(start, start + count)
    ]


def test_of_two_known_ids_that_claim_one_device_the_first_has_its_past_and_the_latest_its_future(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        for events in (views("phone-1", 3, 0), [link("phone-1", "ada", now(), 0)], views("phone-1", 2, 10)):
            deployment.append(events)
            deployment.drain()
        deployment.append([link("phone-1", "cleo", now(), 1)])
        deployment.append(views("phone-1", 4, 20))
        deployment.drain()
        assert orders(deployment, "ada") == pytest.approx(5, abs=1e-3)
        assert orders(deployment, "cleo") == pytest.approx(4, abs=1e-3)
        assert orders(deployment, "phone-1") == 0.0
        assert deployment.store.load_customers(["phone-1"])["phone-1"].owner == "cleo"


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_circle_of_links_is_cut_and_loses_nothing(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    ring = IDS[:length]
    with deployed(redis_server, tmp_path_factory) as deployment:
        for number, customer in enumerate(ring):
            deployment.append(views(customer, 2, 10 * number))
        deployment.append(
            [
                link(one, other, now(), number)
                for number, (one, other) in enumerate(zip(ring, [*ring[1:], ring[0]], strict=True))
            ]
        )
        for number, customer in enumerate(ring):
            deployment.append(views(customer, 1, 100 + number))
        deployment.drain()
        rows = deployment.store.load_customers(ring)
        [top] = [customer for customer in ring if not rows[customer].owner]
        assert orders(deployment, top) == pytest.approx(3 * length, abs=1e-3)
        assert sum(orders(deployment, customer) for customer in ring) == pytest.approx(3 * length, abs=1e-3)


def test_a_customer_goes_by_the_id_that_was_seen_first(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        for number, customer in enumerate(("laptop-1", "phone-1", "ada")):
            deployment.append(views(customer, 1, number))
        deployment.append([link("phone-1", "ada", now(), 0), link("laptop-1", "ada", now(), 1)])
        deployment.drain()
        assert deployment.store.load_customers(["ada"])["ada"].assignment == "laptop-1"


def test_what_travels_between_partitions_carries_the_whole_state(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        deployment.append([*views("phone-2", 3, 0), link("phone-2", "bert", now(), 0)])
        deployment.drain()
        [joined] = [event for _, _, event in deployment.archived() if isinstance(event, Joined)]
        assert (joined.previous, joined.customer, joined.via) == ("phone-2", "bert", [("phone-2", joined.linked)])
        partitions = {stream.partition_of(name, PARTITIONS) for name in ("phone-2", "bert")}
        assert len(partitions) == 2  # else this shows nothing
        assert orders(deployment, "bert") == pytest.approx(3, abs=1e-3)
