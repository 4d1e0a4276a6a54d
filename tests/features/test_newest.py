"""What a decision adds to a row is what the worker will make of it, bit for bit; or nothing where that is unknown."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from features import stream
from features.events.schema import ConsentGiven, Erased, Event, Identify, Track
from tests.features.behaviour import CUSTOMERS, behave
from tests.features.deployment import PARTITIONS, Deployment, deployed, now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.embedded import Server
    from features.packed import Known, Packed


@pytest.fixture
def deployment(redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(redis_server, tmp_path_factory) as ready:
        yield ready


async def read(deployment: Deployment, customers: list[str], tracked: bool = True) -> list[Known]:
    try:
        return (await deployment.store.read_newest(customers, PARTITIONS, tracked))[0]
    finally:
        await deployment.store.line.close()


def newest(deployment: Deployment, customers: list[str], tracked: bool = True) -> list[Known]:
    return asyncio.run(read(deployment, customers, tracked))


def stored(deployment: Deployment, customers: list[str]) -> list[Packed | None]:
    """The rows as the worker wrote them."""
    return deployment.store.read("customer", customers)


def told(row: Packed | None) -> tuple[int, list[float], list[int]] | None:
    return None if row is None else (row.applied, row.numbers.tolist(), row.ids.tolist())


def view(customer: str, product: str = "p-1", name: str = "Product Viewed") -> Event:
    at = now()
    properties = {"product_id": product, "category": "hats"}
    return Track(
        message_id=f"m-{at}-{product}", customer=customer, time=at, received=at, event=name, properties=properties
    )


@pytest.mark.parametrize("seed", range(6))
def test_rows_with_the_newest_events_are_those_that_the_worker_writes(deployment: Deployment, seed: int) -> None:
    chance = random.Random(seed)
    events = behave(seed, 120, now())
    ahead = 0
    while events:
        some, events = events[: chance.randrange(1, 30)], events[30:]
        deployment.append(some)
        deployment.work(chance.randrange(1, 12))
        known = newest(deployment, CUSTOMERS)
        ahead += sum(len(one.fresh) for one in known)
        deployment.drain()
        assert [told(one.row) for one in known] == [told(row) for row in stored(deployment, CUSTOMERS)]
        assert not any(one.fresh for one in newest(deployment, CUSTOMERS))
    assert ahead


@pytest.mark.parametrize("kind", ["link", "consent", "erased"])
def test_what_is_more_than_behaviour_is_left_to_the_worker(deployment: Deployment, kind: str) -> None:
    at = now()
    common: dict[str, Any] = {"message_id": "m-more", "customer": "ann", "time": at, "received": at}
    more: dict[str, Event] = {
        "link": Identify(**common, user_id="bob"),
        "consent": ConsentGiven(**common, purposes={"tracking": False}),
        "erased": Erased(**common),
    }
    (_, first), *_ = deployment.append([view("ann"), more[kind], view("ann", "p-2")])
    [known] = newest(deployment, ["ann"])
    assert list(known.fresh) == [first]
    assert known.row is not None
    assert known.row.applied == first
    deployment.drain()
    [after] = newest(deployment, ["ann"])
    assert not after.fresh
    assert told(after.row) == told(stored(deployment, ["ann"])[0])


def test_events_that_may_not_be_kept_are_not_added(deployment: Deployment) -> None:
    deployment.append([view("ann")])
    assert newest(deployment, ["ann"], tracked=False)[0].row is None
    assert newest(deployment, ["ann"], tracked=True)[0].row is not None


def test_who_has_more_new_events_than_are_kept_is_served_from_the_row(deployment: Deployment) -> None:
    deployment.append([view("ann")])
    deployment.drain()
    before = told(stored(deployment, ["ann"])[0])
    deployment.append([view("ann", f"p-{number}") for number in range(stream.MOST_NEWEST - 1)])
    assert len(newest(deployment, ["ann"])[0].fresh) == stream.MOST_NEWEST - 1
    deployment.append([view("ann", "p-last"), view("ann", "p-later")])
    [known] = newest(deployment, ["ann"])
    assert (told(known.row), list(known.fresh)) == (before, [])
    deployment.drain()
    deployment.append([view("ann", "p-again")])
    assert len(newest(deployment, ["ann"])[0].fresh) == 1


def test_a_list_that_expired_while_the_worker_was_behind_is_not_taken_for_all(deployment: Deployment) -> None:
    (place, arrival), *_ = deployment.append([view("ann")])
    key = stream.newest_key(place, "ann")
    assert 0 < deployment.redis.ttl(key) <= stream.NEWEST_SECONDS  # type: ignore[operator]  # redis-py's types
    deployment.redis.delete(key)  # as if it had expired
    deployment.append([view("ann", "p-2")])
    begin = int(deployment.redis.lrange(key, 0, 0)[0])  # type: ignore[index]  # redis-py's types
    assert begin < arrival  # an event of ten minutes ago would be missed, one of a moment ago cannot be
    deployment.redis.lset(key, 0, str(arrival))
    assert newest(deployment, ["ann"])[0].row is None
    deployment.drain()
    assert told(newest(deployment, ["ann"])[0].row) == told(stored(deployment, ["ann"])[0])


def test_an_event_that_cannot_be_read_is_left_to_the_worker(deployment: Deployment) -> None:
    deployment.append([view("ann")])
    number = stream.partition_of("ann", PARTITIONS)
    stream.append(deployment.redis, number, [stream.Message(None, b"{", "ann")], now() / 1e6)
    deployment.append([view("ann", "p-2")])
    assert len(newest(deployment, ["ann"])[0].fresh) == 1
    deployment.drain()
    assert told(newest(deployment, ["ann"])[0].row) == told(stored(deployment, ["ann"])[0])


def test_events_that_the_worker_came_to_between_two_reads_are_not_added_twice(deployment: Deployment) -> None:
    deployment.append([view("ann")])
    number = stream.partition_of("ann", PARTITIONS)
    deployment.redis.xtrim(stream.events_key(number), maxlen=0)
    [known] = newest(deployment, ["ann"])
    assert (known.row, list(known.fresh)) == (None, [])


def test_another_customer_in_the_same_list_changes_nothing(deployment: Deployment) -> None:
    number = stream.partition_of("ann", PARTITIONS)
    other = next(name for name in map(str, range(99)) if stream.partition_of(name, PARTITIONS) == number)
    deployment.append([view("ann")])
    payload = msgspec.json.encode(msgspec.to_builtins(view(other, "p-9")))
    stream.append(deployment.redis, number, [stream.Message("m-other", payload, "ann")], now() / 1e6)
    [known] = newest(deployment, ["ann"])
    assert len(known.fresh) == 1
    deployment.drain()
    assert told(known.row) == told(stored(deployment, ["ann"])[0])
