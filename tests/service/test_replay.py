"""Replays beside live traffic: no read misses what was processed before it, and the end is the oracle's."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis import Redis

from features import archive, generations, history, replay, snapshots, stream
from features.aggregates.columns import slot_of
from features.aggregates.declared import TOTAL
from features.aggregates.rows import LAYOUTS
from features.events.schema import Erased, Event, Track, encode
from features.ids import digest
from features.store import OnlineStore, open_store
from features.streaming import load_row, row_field
from service.live import Live
from service.worker import Worker
from tests.conftest import wait_until
from tests.features.deployment import PARTITIONS, Deployment, deployed, now
from tests.features.oracle import Oracle, approximately, close
from tests.features.test_identity import (
    IDS,
    OWNERS,
    assert_candidates_are_the_oracles,
    assert_customers_are_the_oracles,
    live,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from features.embedded import Server

CUSTOMERS = [f"c-{number}" for number in range(40)]
PRODUCTS = [f"p-{number}" for number in range(9)]
VIEWS = slot_of(LAYOUTS["customer"], "customer__product_viewed__history_64")
"""Where a customer's row counts all views, exactly."""


@contextmanager
def workers(deployment: Deployment, count: int = 2) -> Iterator[list[Worker]]:
    """Real workers in threads; when they have ended, everything is processed and archived."""
    made = [Worker(deployment.settings, deployment.url) for _ in range(count)]
    threads = [threading.Thread(target=worker.run) for worker in made]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        for worker in made:
            worker.stop()
        for thread in threads:
            thread.join()


class Traffic:
    """Events that come all the time, and reads that know how many of them they have to find."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self._settings, self._url = deployment.settings, deployment.url
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._arrivals: dict[str, list[int]] = {customer: [] for customer in CUSTOMERS}
        self._store = OnlineStore(deployment.home, deployment.url)
        self.events: list[Event] = []
        self.reads = 0
        self.faults: list[str] = []
        self._total = 0.0
        self._number = 0

    @contextmanager
    def flowing(self) -> Iterator[None]:
        threads = [threading.Thread(target=work) for work in (self._send, self._read)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _send(self) -> None:
        with Redis.from_url(self._url) as redis:
            while not self._over.is_set():
                self.send(redis, self._chance.choice(CUSTOMERS))
                time.sleep(0.001)

    def send(self, redis: Redis, customer: str) -> None:
        event = Track(
            message_id=f"m-{len(self.events)}",
            customer=customer,
            time=now(),
            received=now(),
            event="Product Viewed",
            properties={"product_id": self._chance.choice(PRODUCTS), "category": "hats"},
        )
        partition = stream.partition_of(customer, PARTITIONS)
        with self._lock:
            [arrival] = stream.append(redis, partition, [stream.Message(event.message_id, encode(event))], time.time())
            self._arrivals[customer].append(arrival)
            self.events.append(event)

    def _read(self) -> None:
        asyncio.run(self._read_on())

    async def _read_on(self) -> None:
        chance = random.Random(1)
        with Redis.from_url(self._url) as redis:
            while not self._over.is_set():
                self.reads += 1
                some = chance.sample(CUSTOMERS, 3)
                cursors: Any = redis.mget([stream.cursor_key(number) for number in range(PARTITIONS)])
                with self._lock:
                    known = {one: list(self._arrivals[one]) for one in some}
                found = await self._store.read_customers(some)
                for one, stored in zip(some, found, strict=True):
                    until = int(cursors[stream.partition_of(one, PARTITIONS)] or 0)
                    least = sum(arrival <= until for arrival in known[one])
                    has = 0 if stored.row is None else stored.row.numbers[VIEWS]
                    if has < least:
                        self.faults.append(f"{one} has {has} views of {least}")
                self._look_at_snapshot(redis)
                await asyncio.sleep(0)
        await self._store.close()

    def _look_at_snapshot(self, redis: Redis) -> None:
        """Views of all candidates only ever grow, and so does the number."""
        with redis.pipeline(transaction=True) as pipe:
            pipe.get(snapshots.HEAD)
            pipe.hget(snapshots.ROWS, row_field("candidate", digest(TOTAL)))
            payload, stored = pipe.execute()
        if payload is None:
            return
        number = snapshots.decode_head(payload).number
        row = load_row("candidate", stored)
        total = close("candidate", row, now() / 1e6)["candidate__product_viewed__decayed_7d"]
        if number < self._number or total < self._total * (1 - 1e-4):
            self.faults.append(f"snapshot {number} with {total} views after {self._number} with {self._total}")
        self._number, self._total = number, total


def assert_right(deployment: Deployment, events: list[Event]) -> None:
    """Everything online is the oracle's, and nothing of another generation is left."""
    deployment.open()
    deployment.drain()
    deployment.snapshot()
    at = now() / 1e6
    oracle = Oracle(events)
    rows = deployment.store.read_rows("customer", CUSTOMERS)
    assert rows.keys() == oracle.customers
    for text, row in rows.items():
        assert close("customer", row, at, "p-1", "hats") == approximately(oracle.customer(text, at, "p-1", "hats"))
    snapshot = deployment.snapshot_rows()
    for candidate in [TOTAL, *PRODUCTS]:
        closed = close("candidate", snapshot.get(("candidate", digest(candidate))), at)
        assert closed == approximately(oracle.candidate(candidate, at))
    assert_clean(deployment)


def assert_clean(deployment: Deployment) -> None:
    project = generations.project_of(generations.current(deployment.redis)).encode()
    keys: list[bytes] = deployment.redis.keys()  # type: ignore[assignment]  # redis-py's types
    online = [key for key in keys if b"customer" in key[:24] or b"candidate" in key[:24]]
    online = [key for key in online if not key.startswith(b"kairos:")]
    assert online
    assert all(key.endswith(project) for key in online)
    assert not deployment.redis.smembers(generations.LEFT)
    assert not [
        key for key in keys if key.startswith(b"kairos:{") and key.rsplit(b":", 1)[1].isdigit() and b"seen" not in key
    ]


def test_no_read_misses_anything_while_replays_run_beside_live_traffic(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        traffic = Traffic(deployment, 1)
        with workers(deployment), traffic.flowing():
            wait_until(lambda: len(traffic.events) > 500)
            for turn in range(1, 5):
                report = replay.replay(deployment.settings, deployment.url)
                assert generations.current(deployment.redis) == turn
                assert report.events > 0
        assert traffic.faults == []
        assert traffic.reads > 100
        assert_right(deployment, traffic.events)
        messages = Counter(event.message_id for _, _, event in deployment.archived())
        assert {message for message in messages if message.startswith("m-")} == {e.message_id for e in traffic.events}
        assert set(messages.values()) == {1}
        assert history.replay(deployment.home, {}, lambda *_: None).events == messages.total()


def test_a_replay_that_is_killed_at_any_moment_leaves_the_old_generation_and_the_next_cleans_up(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance = random.Random(3)
    with deployed(redis_server, tmp_path_factory) as deployment:
        traffic = Traffic(deployment, 2)
        for _ in range(2000):
            traffic.send(deployment.redis, chance.choice(CUSTOMERS))
        deployment.drain()
        deployment.snapshot()
        began = time.monotonic()
        replay.replay(deployment.settings, deployment.url)
        seconds = time.monotonic() - began
        for turn in range(10):
            for _ in range(20):
                traffic.send(deployment.redis, chance.choice(CUSTOMERS))
            child = os.fork()
            if not child:
                replay.replay(deployment.settings, deployment.url)
                os._exit(0)
            time.sleep(seconds * (turn + chance.random()) / 10)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            deployment.redis.delete(generations.REBUILD, stream.REPLAY)  # as if they had run out
            found = OnlineStore(deployment.home, deployment.url).read_rows("customer", CUSTOMERS)
            assert len(found) == len(CUSTOMERS)
        replay.replay(deployment.settings, deployment.url)
        assert_right(deployment, traffic.events)


def test_an_erasure_during_a_replay_holds(redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Even where the archive has the customer for a while longer, as it is written again only behind the worker."""
    with deployed(redis_server, tmp_path_factory) as deployment:
        traffic = Traffic(deployment, 3)
        for customer in [*CUSTOMERS, *CUSTOMERS]:
            traffic.send(deployment.redis, customer)
        deployment.drain()
        erased: list[Event] = []

        def erase(done: int, _all: int) -> None:
            """While the archive is read, and then while the new generation has nearly what it takes."""
            if done and not erased:
                erased.extend(
                    Erased(message_id=f"erase:{customer}", customer=customer, time=now(), received=now())
                    for customer in CUSTOMERS[:5]
                )
                deployment.append(erased)
                deployment.open()
                deployment.drain()

        replay.replay(deployment.settings, deployment.url, erase)
        assert set(deployment.store.read_rows("customer", CUSTOMERS)) == set(CUSTOMERS[5:])
        assert any(event.customer in CUSTOMERS[:5] for _, _, event in deployment.archived())
        replay.replay(deployment.settings, deployment.url)  # the archive still holds them, and their erasure is trimmed
        assert set(deployment.store.read_rows("customer", CUSTOMERS)) == set(CUSTOMERS[5:])
        archive.erase(deployment.home.archive, CUSTOMERS[:5])
        deployment.redis.delete(generations.ERASED)  # as after an hour
        replay.replay(deployment.settings, deployment.url)
        assert set(deployment.store.read_rows("customer", CUSTOMERS)) == set(CUSTOMERS[5:])


def test_whoever_comes_by_feast_itself_reads_the_generation_that_serves(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        traffic = Traffic(deployment, 4)
        traffic.send(deployment.redis, "c-1")
        deployment.drain()
        feast = open_store(deployment.home, deployment.url)
        for _ in range(3):
            answer = feast.get_online_features(["customer:applied"], [{"customer": "c-1"}]).to_dict()
            assert answer["applied"] != [None]
            replay.replay(deployment.settings, deployment.url)


def test_links_that_come_during_replays_join_each_id_once(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = live(5, 1500, OWNERS)
        deployment.append(events[:50])

        def send() -> None:
            for event in events[50:]:
                deployment.append([event])
                time.sleep(0.002)

        sending = threading.Thread(target=send)
        with workers(deployment):
            sending.start()
            while sending.is_alive():
                replay.replay(deployment.settings, deployment.url)
            sending.join()
            replay.replay(deployment.settings, deployment.url)
        deployment.open()
        deployment.drain()
        deployment.snapshot()
        at = now() / 1e6
        assert_customers_are_the_oracles(deployment.store.load_customers(IDS), events, at)
        assert_candidates_are_the_oracles(deployment, events, at)
        assert_clean(deployment)


CATALOG = """
currency: EUR
time_zone: UTC
placements: [{id: home, limit: 1, default: p-1}]
candidates: [{id: p-1, kind: offer, title: One}]
"""


def test_an_api_process_takes_up_the_candidates_that_a_replay_has_swapped(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def follow() -> None:
        live = Live(deployment.settings, deployment.url, lambda _frame, _bundle: None)
        await live.refresh()
        for turn in range(1, 4):
            replay.replay(deployment.settings, deployment.url)
            await live.refresh()
            payload: Any = deployment.redis.get(snapshots.HEAD)
            assert live._head == snapshots.decode_head(payload)
            held = {(view, key): stored.applied for view, rows in live._rows.items() for key, stored in rows.items()}
            assert held == {key: row.applied for key, row in deployment.snapshot_rows().items()}
            deployment.open()
            traffic.send(deployment.redis, f"c-{turn}")
            deployment.drain()
            deployment.snapshot()
        await live.refresh()
        assert live._head is not None
        assert live._head.number == max(deployment.taken)
        await live.close()

    with deployed(redis_server, tmp_path_factory) as deployment:
        deployment.home.catalog.write_text(CATALOG)
        traffic = Traffic(deployment, 5)
        for number in range(30):
            traffic.send(deployment.redis, CUSTOMERS[number])
        deployment.drain()
        deployment.snapshot()
        asyncio.run(follow())
