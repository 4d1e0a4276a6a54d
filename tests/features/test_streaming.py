"""The worker's path with real parts: what is online equals the naive oracle, whatever crashed on the way."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from features import archive, history, stream, streaming
from features.aggregates.declared import TOTAL
from features.events.schema import Event, Page, Track
from features.ids import digest
from features.replay import read_entries
from features.streaming import DEAD_LETTERS, LeaseLostError
from tests.features.behaviour import CUSTOMERS, PRODUCTS, PROMOTIONS, behave
from tests.features.crashing import Crash, Plan, put_on, restart
from tests.features.deployment import PARTITIONS, Deployment, candidates_at, content, deployed, now
from tests.features.oracle import Oracle, approximately, close

if TYPE_CHECKING:
    from features.embedded import Server


def assert_features_are_the_oracles(deployment: Deployment, events: list[Event], at: float) -> None:
    """Everything online, closed at `at`, is what the naive oracle says of the events."""
    oracle = Oracle(events)
    rows = deployment.store.read_rows("customer", CUSTOMERS)
    assert rows.keys() == oracle.customers
    for number, (customer, row) in enumerate(rows.items()):
        candidate = [*PRODUCTS, *PROMOTIONS][number * 3]
        assert close("customer", row, at, candidate, "hats") == approximately(
            oracle.customer(customer, at, candidate, "hats")
        )
    snapshot = deployment.snapshot_rows()
    assert {row.text for (view, _), row in snapshot.items() if view == "candidate"} - {TOTAL} == oracle.candidates
    for candidate in [TOTAL, "p-1", "p-2", "o-1"]:
        closed = close("candidate", snapshot.get(("candidate", digest(candidate))), at)
        assert closed == approximately(oracle.candidate(candidate, at))
    for before in ("p-0", "p-1", "p-5"):
        closed = close("successors", snapshot.get(("successors", digest(before))), at, "p-2")
        assert closed == approximately(oracle.successors(before, "p-2", at))


def assert_archived_once(deployment: Deployment, events: list[Event]) -> None:
    """The archive has each event exactly once, in the order of its arrival within its partition."""
    archived = [(partition, event) for partition, _, event in deployment.archived() if event.message_id[0] == "m"]
    for number in range(PARTITIONS):
        expected = [event for event in events if stream.partition_of(event.customer, PARTITIONS) == number]
        assert [event for partition, event in archived if partition == number] == expected
    spans = [path.stem.split("-") for path in archive.files(deployment.home.events)]
    for number in range(PARTITIONS):
        edges = [int(edge) for name, *span in sorted(spans) if name == str(number) for edge in span]
        assert edges == sorted(edges)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_batches_the_features_are_the_oracles_and_the_archive_is_whole(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = behave(seed, 30 * seed, now())
        deployment.live_on(random.Random(seed), events)
        deployment.drain()
        deployment.snapshot()
        deployment.drain()  # the snapshot's own event
        assert_features_are_the_oracles(deployment, events, now() / 1e6)
        assert_archived_once(deployment, events)
        left: Any = deployment.redis.xlen(stream.events_key(0))
        assert left <= 100  # all that is archived is trimmed but for a last node of entries


@pytest.mark.parametrize("seed", range(6))
def test_a_crash_at_any_request_to_redis_loses_nothing_and_doubles_nothing(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = behave(seed, 80, now())
        deployment.append(events)
        for _ in range(25):
            plan = Plan()
            put_on(deployment, plan)
            plan.left, plan.share = chance.randrange(35), chance.choice([0.0, chance.random(), 1.0])
            with suppress(Crash):
                deployment.work(chance.choice([3, 10]))
                deployment.snapshot()
                deployment.flush()
            deployment = restart(deployment)
        deployment.drain()
        deployment.snapshot()
        assert_features_are_the_oracles(deployment, events, now() / 1e6)
        assert_archived_once(deployment, events)
        assert_history_has_every_snapshot(deployment)
        deployment.close()


def assert_history_has_every_snapshot(deployment: Deployment) -> None:
    """Whoever joins at the time of a published snapshot gets the rows that it held, to the bit."""
    deployment.drain()
    history.rebuild(deployment.home)
    for head, held in deployment.taken.values():
        assert candidates_at(deployment.home, head.time) == {key: content(row) for key, row in held.items()}


def test_a_worker_killed_at_any_moment_loses_nothing_and_doubles_nothing(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = behave(4, 300, now())
        deployment.append(events)
        script = Path(__file__).with_name("killed.py")
        subprocess.run([sys.executable, str(script), str(deployment.home.root), deployment.url, "4"], check=True)
        deployment.open()
        assert any(partition.cursor for partition in deployment.partitions)
        deployment.drain()
        deployment.snapshot()
        assert_features_are_the_oracles(deployment, events, now() / 1e6)
        assert_archived_once(deployment, events)


@pytest.mark.parametrize("step", range(1, 6))
def test_nothing_is_written_any_more_once_the_lease_is_lost(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, step: int
) -> None:
    def check() -> None:
        nonlocal step
        step -= 1
        if step == 0:
            found.append(set(deployment.redis.keys()))  # type: ignore[arg-type]  # redis-py's types
            raise LeaseLostError("taken over")

    with deployed(redis_server, tmp_path_factory) as deployment:
        found: list[set[bytes]] = []
        events = behave(1, 60, now())
        places = deployment.append(events)
        number = places[-1][0]
        partition = deployment.partitions[number]
        entries = read_entries(deployment.redis, partition)
        with pytest.raises(LeaseLostError):  # noqa: PT012  # a worker's two steps
            deployment.processor.process(partition, entries, check)
            deployment.processor.mark([partition], check)
        assert set(deployment.redis.keys()) == found[0]  # type: ignore[arg-type]  # redis-py's types
        assert stream.cursor_key(number).encode() not in found[0]
        deployment.open()
        deployment.drain()
        deployment.snapshot()
        assert_features_are_the_oracles(deployment, events, now() / 1e6)


def test_a_crash_between_archiving_and_trimming_does_not_archive_twice(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = behave(3, 80, now())
        deployment.append(events)
        deployment.work(500)
        plan = Plan()
        worker = Deployment(deployment.home, deployment.url)
        put_on(worker, plan)
        worker.work(500)
        plan.left = 0
        with pytest.raises(Crash):
            worker.flush()
        worker.close()
        assert len(archive.files(deployment.home.events)) == 1
        deployment.open()
        deployment.drain()
        assert_archived_once(deployment, events)


def test_a_file_that_was_not_renamed_into_place_is_no_part_of_the_archive(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = behave(3, 30, now())
        places = deployment.append(events)
        deployment.home.events.mkdir(parents=True)
        half = deployment.home.events / f"0-{places[0][1]}-{places[-1][1]}.4711.tmp"
        half.write_bytes(b"PAR1 and then the power went")
        deployment.open()
        deployment.drain()
        assert_archived_once(deployment, events)


def test_an_entry_that_cannot_be_read_goes_to_the_dead_letters_and_holds_nothing_up(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        event = Track(message_id="m-1", customer="bob", time=now(), received=now(), event="Product Viewed")
        number = stream.partition_of("bob", PARTITIONS)
        stream.append(deployment.redis, number, [stream.Message("broken", b'{"type": "track"}')], 0.0)
        deployment.append([event])
        stream.append(deployment.redis, number, [stream.Message("none", b"\xff")], 0.0)
        deployment.drain()
        assert [archived for _, _, archived in deployment.archived()] == [event]
        assert deployment.redis.xlen(DEAD_LETTERS) == 2
        deployment.open()
        assert deployment.work(500) == 0


def test_features_do_not_depend_on_how_many_customers_are_kept_in_memory(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "CACHED_CUSTOMERS", 2)
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = behave(9, 100, now())
        deployment.append(events)
        while deployment.work(4):
            pass
        deployment.snapshot()
        assert_features_are_the_oracles(deployment, events, now() / 1e6)


def test_events_of_no_customer_are_archived_and_touch_no_features(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        event = Page(message_id="m-1", customer="", time=now(), received=now())
        deployment.append([event])
        deployment.drain()
        assert [archived for _, _, archived in deployment.archived()] == [event]
        assert deployment.snapshot() is None
        assert deployment.store.read("customer", [""]) == [None]
