"""Streams and leases on a real Redis: each message once, arrivals that only grow, and one writer at a time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from features import leases, stream
from features.ids import fingerprint
from features.leases import Lease, hold_all_back
from features.occupancy import UnavailableError
from features.stream import Message
from features.streaming import LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.embedded import Server
    from tests.conftest import Until

HOUR = 3600.0


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def entries(client: Redis, partition: int) -> list[tuple[int, bytes]]:
    found: Any = client.xrange(stream.events_key(partition))
    return [(int(entry.split(b"-")[0]), fields[stream.FIELD]) for entry, fields in found]


def messages(*ids: str | None) -> list[Message]:
    return [Message(one, f"payload of {one}".encode()) for one in ids]


def test_events_stand_in_the_stream_under_their_arrivals(client: Redis) -> None:
    before = time.time_ns() // 1000
    arrivals = stream.append(client, 2, messages("a", "b", None), before / 1e6)
    payloads = [b"payload of a", b"payload of b", b"payload of None"]
    assert entries(client, 2) == list(zip(arrivals, payloads, strict=True))
    assert before <= arrivals[0] < before + 60_000_000
    assert entries(client, 1) == []


@settings(max_examples=20, deadline=None)
@given(batches=st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6), max_size=6))
def test_a_message_is_appended_once_within_and_across_batches(redis_server: Server, batches: list[list[str]]) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
        seen: set[str] = set()
        for batch in batches:
            for one, arrival in zip(batch, stream.append(client, 0, messages(*batch), time.time()), strict=True):
                assert (arrival == 0) == (one in seen)
                seen.add(one)
        assert len(entries(client, 0)) == len(seen)


def test_a_message_of_yesterday_is_still_a_duplicate_and_one_of_two_days_ago_is_not(client: Redis) -> None:
    now = 500_000 * HOUR
    assert stream.append(client, 0, messages("a"), now)[0]
    assert stream.append(client, 0, messages("a"), now + 23.9 * HOUR) == [0]
    assert stream.append(client, 0, messages("a"), now + 26 * HOUR)[0]


def test_messages_without_an_id_are_never_duplicates(client: Redis) -> None:
    assert len(set(stream.append(client, 0, messages(None, None, None), time.time()))) == 3


def test_seen_ids_are_forgotten_in_the_end(client: Redis) -> None:
    keys, _ = stream.append_arguments(0, [], time.time())
    stream.append(client, 0, messages("a"), time.time())
    lifetime: Any = client.ttl(keys[2])
    assert stream.DEDUPLICATED_HOURS * HOUR < lifetime <= (stream.DEDUPLICATED_HOURS + 2) * HOUR


def test_a_large_batch_gets_arrivals_that_only_grow(client: Redis) -> None:
    arrivals = stream.append(client, 0, messages(*map(str, range(2500))), time.time())
    more = stream.append(client, 0, messages("one more"), time.time())
    assert arrivals == sorted(set(arrivals))
    assert more[0] > arrivals[-1]
    assert [arrival for arrival, _ in entries(client, 0)] == arrivals + more


def test_arrivals_grow_though_the_clock_was_set_back(client: Redis) -> None:
    ahead = time.time_ns() // 1000 + 3_600_000_000
    client.set(stream.last_key(0), ahead)
    assert stream.append(client, 0, messages("a", "b"), time.time()) == [ahead + 1, ahead + 2]
    assert stream.append(client, 0, messages("b", "c"), time.time()) == [0, ahead + 3]


def test_a_batch_of_duplicates_leaves_the_arrivals_alone(client: Redis) -> None:
    [arrival] = stream.append(client, 0, messages("a"), time.time())
    assert stream.append(client, 0, messages("a", "a"), time.time()) == [0, 0]
    assert client.get(stream.last_key(0)) == str(arrival).encode()


@given(partition=st.integers(0, 1 << 16), arrival=st.integers(0, 1 << 53))
def test_a_token_names_its_partition_and_arrival(partition: int, arrival: int) -> None:
    assert stream.parse_token(stream.token(partition, arrival)) == (partition, arrival)


@pytest.mark.parametrize("text", ["", "-", "1", "1-", "-1", "1-2-3", "a-1", "1-b", "1 -2", "1-2 ", "²-1"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="token"):
        stream.parse_token(text)


@given(customer=st.text(), partitions=st.integers(1, 64))
def test_a_customer_always_belongs_to_the_same_partition(customer: str, partitions: int) -> None:
    assert 0 <= stream.partition_of(customer, partitions) < partitions
    assert stream.partition_of(customer, partitions) == stream.partition_of(customer, partitions)


def test_customers_stay_in_the_partitions_that_older_versions_put_them_in() -> None:
    partitions = {customer: stream.partition_of(customer, 4) for customer in ("", "c-1", "c-2", "größe")}
    assert partitions == {"": 0, "c-1": 2, "c-2": 0, "größe": 1}


@given(st.text())
def test_a_messages_fingerprint_fits_a_set_of_integers(text: str) -> None:
    assert -(2**63) <= fingerprint(text) < 2**63


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that run out soon."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(leases, "MARGIN_SECONDS", 0.1)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)


KEY = stream.lease_key(0)


def test_a_second_owner_waits_until_the_first_lets_go(client: Redis) -> None:
    first, second = Lease(client, KEY, "first"), Lease(client, KEY, "second")
    assert first.hold()
    assert not second.hold()
    second.release()
    assert first.hold()
    first.release()
    assert second.hold()
    with pytest.raises(LeaseLostError):
        first.check()


@pytest.mark.usefixtures("brief")
def test_a_second_owner_takes_over_when_the_first_falls_silent(client: Redis, until: Until) -> None:
    first, second = Lease(client, KEY, "first"), Lease(client, KEY, "second")
    assert first.keep()
    first.check()
    until(second.keep)
    with pytest.raises(LeaseLostError, match="lease"):
        first.check()
    assert not first.keep()
    second.check()


@pytest.mark.usefixtures("brief")
def test_a_lease_that_ran_out_is_lost_once_though_nobody_took_it(client: Redis, until: Until) -> None:
    lease = Lease(client, KEY, "first")
    assert lease.hold()
    until(lambda: not client.exists(KEY))
    with pytest.raises(LeaseLostError):
        lease.check()
    with pytest.raises(LeaseLostError):
        lease.check()
    assert lease.keep()
    lease.check()


@pytest.mark.usefixtures("brief")
def test_a_lease_that_is_renewed_outlives_its_time(client: Redis, until: Until) -> None:
    lease, other = Lease(client, KEY, "first"), Lease(client, KEY, "second")
    ends = time.monotonic() + 3 * leases.LEASE_SECONDS
    assert lease.hold()
    assert until(lambda: lease.keep() and not other.hold() and time.monotonic() > ends)


def test_no_partition_is_given_out_while_a_replay_runs(client: Redis) -> None:
    worker = Lease(client, KEY, "worker")
    with hold_all_back(client, 4, "replay") as lease:
        lease.check()
        assert not worker.hold()
    assert worker.hold()


def test_a_replay_waits_for_the_workers_who_may_renew_until_they_let_go(client: Redis, until: Until) -> None:
    worker, held = Lease(client, KEY, "worker"), threading.Event()
    assert worker.hold()

    def replay() -> None:
        with hold_all_back(client, 4, "replay"):
            held.set()

    thread = threading.Thread(target=replay)
    thread.start()
    until(lambda: client.exists(stream.REPLAY))
    assert worker.hold()
    assert not held.is_set()
    worker.release()
    thread.join()
    assert held.is_set()
    assert not client.exists(stream.REPLAY)


def test_a_second_replay_is_refused(client: Redis) -> None:
    with hold_all_back(client, 4, "one"):
        with pytest.raises(UnavailableError, match="another replay"), hold_all_back(client, 4, "two"):
            pass
        assert client.get(stream.REPLAY) == b"one"


def test_a_replay_gives_up_when_a_worker_does_not_let_go(client: Redis) -> None:
    assert Lease(client, KEY, "worker").hold()
    with pytest.raises(UnavailableError, match="does not let go"), hold_all_back(client, 4, "replay", patience=0.1):
        pass
    assert not client.exists(stream.REPLAY)


@pytest.mark.usefixtures("brief")
def test_a_replays_lease_is_renewed_beside_its_work(client: Redis, until: Until) -> None:
    with hold_all_back(client, 4, "replay") as lease:
        ends = time.monotonic() + 3 * leases.LEASE_SECONDS
        until(lambda: time.monotonic() > ends)
        lease.check()


@pytest.mark.usefixtures("brief")
def test_a_replay_whose_lease_was_taken_may_not_write(client: Redis, until: Until) -> None:
    def is_lost() -> bool:
        try:
            lease.check()
        except LeaseLostError:
            return True
        return False

    with hold_all_back(client, 4, "replay") as lease:
        client.set(stream.REPLAY, "another")
        assert until(is_lost)
    assert client.get(stream.REPLAY) == b"another"
