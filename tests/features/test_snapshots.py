"""Snapshots: numbered, merged over partitions, followed by their changes, and recorded before anyone can use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from features import snapshots
from features.aggregates.rows import LAYOUTS, lay_out
from features.events.occurrences import read
from features.events.schema import SnapshotTaken, decode
from features.ids import digest
from features.replay import read_entries
from features.snapshots import Snapshotter, decode_change, decode_head, decode_stored
from features.streaming import row_field
from tests.features.behaviour import PRODUCTS, behave
from tests.features.deployment import PARTITIONS, Deployment, Rows, content, now
from tests.features.oracle import advance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.home import Home


@pytest.fixture
def deployment(home: Home, redis_url: str) -> Iterator[Deployment]:
    deployment = Deployment(home, redis_url)
    yield deployment
    deployment.close()


def changes(deployment: Deployment) -> list[snapshots.Change]:
    found: Any = deployment.redis.xrange(snapshots.CHANGES)
    return [decode_change(fields[b"c"]) for _, fields in found]


def contents(rows: Rows) -> dict[tuple[str, int], tuple[object, ...]]:
    return {key: content(row) for key, row in rows.items()}


def test_without_changes_there_is_no_snapshot(deployment: Deployment) -> None:
    assert deployment.snapshot() is None
    deployment.append(behave(1, 20, now()))
    deployment.drain()
    assert deployment.snapshot() is not None
    assert deployment.snapshot() is None
    deployment.drain()  # the event by which the snapshot is recorded
    assert deployment.snapshot() is None


def test_snapshots_are_numbered_and_their_times_grow_whatever_the_clock_says(deployment: Deployment) -> None:
    heads = []
    events = [event for event in behave(1, 120, now()) if event.customer and read(event)]
    for at, event in zip([now(), 5, 5, now()], events, strict=False):
        deployment.append([event])
        deployment.drain()
        head = deployment.snapshotter.refresh(at)
        assert head is not None
        heads.append(head)
        deployment.open()
        assert deployment.snapshotter.head == head
    assert [head.number for head in heads] == [1, 2, 3, 4]
    times = [head.time for head in heads]
    assert times == sorted(set(times))


def test_whoever_follows_the_changes_holds_what_the_whole_holds(deployment: Deployment) -> None:
    held: dict[str, bytes] = {}
    events = behave(2, 120, now())
    for start in range(0, 120, 15):
        deployment.append(events[start : start + 15])
        deployment.drain()
        deployment.snapshot()
    followed = changes(deployment)
    for change in followed:
        held |= change.rows
    whole: Any = deployment.redis.hgetall(snapshots.ROWS)
    assert {field.decode(): payload for field, payload in whole.items()} == held
    head: Any = deployment.redis.get(snapshots.HEAD)
    assert followed[-1].head == decode_head(head) == deployment.snapshotter.head
    assert [change.head.number for change in followed] == list(range(1, len(followed) + 1))
    assert all(change.rows for change in followed)


def test_a_snapshot_is_the_merged_state_of_all_partitions(deployment: Deployment) -> None:
    events = behave(3, 90, now())
    deployment.append(events)
    deployment.drain()
    deployment.snapshot()
    _, whole = advance(events)
    rows = deployment.snapshot_rows()
    assert {key for view, key in rows if view == "candidate"} == set(whole.candidate)
    assert {key for view, key in rows if view == "successors"} == set(whole.successors)
    stored: Any = deployment.redis.hget(snapshots.ROWS, row_field("candidate", digest("p-1")))
    assert decode_stored(stored).text == "p-1"
    online = deployment.store.read_rows("candidate", list(PRODUCTS))
    for text, row in online.items():
        assert content(row) == content(rows["candidate", digest(text)])


def test_a_snapshot_names_the_last_event_of_each_partition_that_it_holds(deployment: Deployment) -> None:
    places = deployment.append(behave(4, 60, now()))
    deployment.work(500)
    head = deployment.snapshot()
    assert head is not None
    last = {str(partition): arrival for partition, arrival in places}
    assert head.cursors == {"-1": 0, **last}


def test_a_snapshot_is_recorded_as_an_event(deployment: Deployment) -> None:
    deployment.append(behave(4, 60, now()))
    deployment.work(500)
    head = deployment.snapshot()
    assert head is not None
    [(arrival, payload)] = read_entries(deployment.redis, deployment.partitions[snapshots.MARKERS])
    event = decode(payload)
    assert isinstance(event, SnapshotTaken)
    assert (event.number, event.cursors, event.received, event.customer) == (head.number, head.cursors, head.time, "")
    assert arrival > head.cursors[str(snapshots.MARKERS)]


def test_a_snapshotter_goes_on_where_the_one_before_stopped(deployment: Deployment) -> None:
    events = behave(5, 120, now())
    for start in range(0, 120, 20):
        deployment.append(events[start : start + 20])
        deployment.drain()
        deployment.snapshot()
        deployment.snapshotter = Snapshotter(deployment.redis, deployment.store, [-1, *range(PARTITIONS)])
    gone_on = contents(deployment.snapshot_rows())
    deployment.redis.delete(snapshots.ROWS)
    deployment.snapshotter = Snapshotter(deployment.redis, deployment.store, [-1, *range(PARTITIONS)], afresh=True)
    deployment.snapshot()
    assert contents(deployment.snapshot_rows()) == gone_on


def test_candidates_of_other_declarations_are_left_out(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment.append(behave(6, 60, now()))
    deployment.drain()
    monkeypatch.setitem(LAYOUTS, "candidate", lay_out("candidate", LAYOUTS["candidate"].aggregates[:-1]))
    deployment.open()
    assert deployment.snapshot() is not None
    assert {view for view, _ in deployment.snapshot_rows()} == {"successors"}


def test_the_stream_of_changes_is_bounded(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "KEPT_CHANGES", 3)
    deployment.redis.config_set("stream-node-max-entries", 2)
    try:
        for event in behave(1, 40, now()):
            deployment.append([event])
            deployment.work(500)
            deployment.snapshot()
        assert deployment.snapshotter.head.number > 20
        assert len(changes(deployment)) <= 5
    finally:
        deployment.redis.config_set("stream-node-max-entries", 100)
