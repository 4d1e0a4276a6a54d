"""What a worker writes after its lease is gone, Redis refuses, whatever the worker believes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from redis import Redis

from features import fencing
from features.aggregates.rows import LAYOUTS, blank
from features.connection import connect
from features.fencing import LeaseLostError
from features.leases import Lease
from features.store import OnlineStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.home import Home

KEY = "kairos:{1}:lease"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client
    fencing.disarm(KEY)


@pytest.fixture
def lease(redis: Redis) -> Lease:
    """One that was just looked at."""
    lease = Lease(redis, KEY, "me")
    assert lease.hold()
    lease.check()
    return lease


def lose(redis_url: str, owner: str | None = None) -> None:
    """As if the lease had run out while this process stood still, and perhaps another had taken it."""
    with Redis.from_url(redis_url) as other:
        if owner:
            other.set(KEY, owner)
        else:
            other.delete(KEY)


def pipe(redis: Redis, transaction: bool, *command: str) -> list[Any]:
    with redis.pipeline(transaction=transaction) as pipe:
        pipe.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        return list(pipe.execute())


@pytest.mark.usefixtures("lease")
def test_what_is_written_under_a_lease_is_written(redis: Redis) -> None:
    redis.set("one", "1")
    redis.mset({"two": "2", "three": 3})
    with redis.pipeline(transaction=False) as pipe:
        pipe.hset("hash", mapping={"a": b"\xff\x00", "b": 1.5, "c": ""})
        pipe.zadd("set", {"x": 1, "y": 2.5})
        pipe.hget("hash", "a")
        assert pipe.execute() == [3, 2, b"\xff\x00"]
    assert redis.mget("one", "two", "three") == [b"1", b"2", b"3"]
    assert redis.hgetall("hash") == {b"a": b"\xff\x00", b"b": b"1.5", b"c": b""}
    assert redis.zrange("set", 0, -1, withscores=True) == [(b"x", 1.0), (b"y", 2.5)]
    assert redis.unlink("one", "two") == 2


@pytest.mark.parametrize("owner", [None, "another"])
def test_nothing_is_written_once_it_is_gone(home: Home, redis_url: str, redis: Redis, lease: Lease, owner: str) -> None:
    store = OnlineStore(home, redis_url)
    row = msgspec.structs.replace(blank(LAYOUTS["customer"], "ann"), applied=1)
    store.write("customer", [row])
    redis.set("kept", "1")
    lose(redis_url, owner)
    for attempt in (
        lambda: redis.set("kept", "2"),
        lambda: redis.mset({"new": "2"}),
        lambda: redis.unlink("kept"),
        lambda: pipe(redis, True, "SET", "kept", "2"),
        lambda: pipe(redis, False, "HSET", "new", "a", "2"),
        lambda: store.write("customer", [msgspec.structs.replace(row, applied=2)]),
        lambda: store.write_identities([row]),
        lambda: store.forget(["ann"]),
    ):
        fencing.arm(KEY, "me")
        with pytest.raises(LeaseLostError, match=r"kairos:\{1\}:lease"):
            attempt()
    assert redis.get("kept") == b"1"
    assert not redis.exists("new")
    assert store.read_rows("customer", ["ann"])["ann"].applied == 1
    assert store.load_customers(["ann"])["ann"].assignment == ""
    assert not lease.hold()
    redis.set("kept", "3")  # who has lost a lease begins anew, and is not held by the old one


@pytest.mark.usefixtures("lease")
def test_only_the_thread_that_looked_at_the_lease_is_held_by_it(redis_url: str, redis: Redis) -> None:
    lose(redis_url)
    other = threading.Thread(target=lambda: redis.set("other", "1"))
    other.start()
    other.join()
    assert redis.get("other") == b"1"
    with pytest.raises(LeaseLostError):
        redis.set("other", "2")


def test_what_is_released_holds_nobody(redis: Redis, lease: Lease) -> None:
    lease.release()
    redis.set("one", "1")
    assert redis.get("one") == b"1"


@pytest.mark.usefixtures("lease")
def test_a_command_of_any_length_is_carried_out(redis: Redis) -> None:
    many = {f"field-{number}": number for number in range(9_000)}
    assert redis.hset("hash", mapping=many) == 9_000
    with redis.pipeline(transaction=True) as pipe:
        pipe.zadd("set", many)
        pipe.hset("hash", mapping={**many, "another": 1})
        pipe.set("one", "1")
        assert pipe.execute() == [9_000, 1, b"OK"]
    assert (redis.hlen("hash"), redis.zcard("set"), redis.zscore("set", "field-8999")) == (9_001, 9_000, 8999.0)


@pytest.mark.usefixtures("lease")
def test_reading_needs_no_lease(redis_url: str, redis: Redis) -> None:
    redis.set("one", "1")
    lose(redis_url)
    assert redis.get("one") == b"1"
    assert pipe(redis, True, "GET", "one") == [b"1"]
