"""Replay of the archive: the same states as live, to the bit, and the join at an instant says what was online then."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from features import archive, history, replay, stream
from features.aggregates import columns
from features.aggregates.rows import LAYOUTS, Row, blank, pack
from features.events.occurrences import read
from features.events.schema import CatalogPublished, Event, Track, decode
from features.ids import digest
from features.leases import Lease
from features.occupancy import UnavailableError
from features.store import open_store
from tests.features.behaviour import CUSTOMERS, DAY, PRODUCTS, PROMOTIONS, SECOND, behave
from tests.features.deployment import Deployment, candidates_at, content, deployed, now, read_history
from tests.features.oracle import Oracle, advance, approximately, close
from tests.features.test_streaming import assert_archived_once, assert_features_are_the_oracles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from feast import FeatureStore

    from features.embedded import Server
    from features.home import Home

END = 1_760_000_000 * SECOND


@pytest.fixture
def deployment(home: Home, redis_url: str) -> Iterator[Deployment]:
    deployment = Deployment(home, redis_url)
    yield deployment
    deployment.close()


def import_events(home: Home, events: Sequence[Event], name: str = "import-1") -> None:
    """Archive events as an import does: arrival is the event's time, a microsecond later where a customer has two."""
    last: dict[str, int] = {}
    entries = []
    for event in sorted(events, key=lambda event: event.time):
        last[event.customer] = max(event.time, last.get(event.customer, 0) + 1)
        entries.append(archive.entry(last[event.customer], event))
    archive.write(
        home.events, name, archive.tabulate(archive.IMPORTED, sorted(entries, key=lambda entry: entry.arrival))
    )


def last_rows(home: Home) -> dict[str, Row]:
    """The last row of each customer in the historical store."""
    return {row.text: row for row, _ in read_history(home, "customer")}


@pytest.mark.parametrize("seed", range(5))
def test_replayed_history_ends_in_what_is_online_and_has_every_snapshot(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        chance = random.Random(seed)
        events = behave(seed, 40 * seed, now())
        deployment.live_on(chance, events)
        deployment.drain()
        rebuilt = history.rebuild(deployment.home)
        assert rebuilt.events == len(deployment.archived())
        online = deployment.store.read_rows("customer", CUSTOMERS)
        replayed = last_rows(deployment.home)
        assert {text: content(row) for text, row in online.items()} == {
            text: content(row) for text, row in replayed.items()
        }
        for head, held in deployment.taken.values():
            assert candidates_at(deployment.home, head.time) == {key: content(row) for key, row in held.items()}
        deployment.snapshot()
        end = max(stamp for _, stamp in read_history(deployment.home, "candidate")) if events else 0
        present = {key: content(row) for key, row in deployment.snapshot_rows().items()}
        assert candidates_at(deployment.home, end) == present


@pytest.mark.parametrize("seed", range(3))
def test_every_row_of_a_customers_history_is_the_state_after_that_event(home: Home, seed: int) -> None:
    events = behave(seed, 80, END)
    import_events(home, events)
    history.rebuild(home)
    table = archive.read(home.events, ["arrival", "payload"])
    arrivals = dict(zip(table["payload"].to_pylist(), table["arrival"].to_pylist(), strict=True))
    ordered = [decode(payload) for payload in arrivals]
    rows = read_history(home, "customer")
    at = 0
    for count, (event, arrival) in enumerate(zip(ordered, arrivals.values(), strict=True), 1):
        if not event.customer or read(event) is None:
            continue
        customers, _ = advance(ordered[:count])
        row, stamp = next(pair for pair in rows if (pair[0].text, pair[1]) == (event.customer, arrival))
        assert row.states == customers[event.customer].states
        assert (row.applied, stamp) == (arrival, arrival)
        at += 1
    assert at == len(rows)


def test_a_replay_leaves_everything_online_as_it_was(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        events = behave(7, 150, now())
        deployment.live_on(random.Random(7), events[:120])
        deployment.append(events[120:])  # these still wait in the stream
        progress: list[tuple[int, int]] = []
        report = replay.replay(deployment.settings, deployment.url, lambda *done: progress.append(done))
        assert report.customers == len(Oracle(events).customers)
        assert report.candidates == len(Oracle(events).candidates) + 1
        assert progress[-1][0] == progress[-1][1] == report.events
        history.rebuild(deployment.home)
        customers = deployment.store.read_rows("customer", CUSTOMERS)
        assert {row.text: content(row) for row in customers.values()} == {
            row.text: content(row) for row in last_rows(deployment.home).values()
        }
        assert_features_are_the_oracles(deployment, events, now() / 1e6)
        again = replay.replay(deployment.settings, deployment.url)
        assert again.events >= report.events
        assert {text: content(row) for text, row in customers.items()} == {
            text: content(row) for text, row in deployment.store.read_rows("customer", CUSTOMERS).items()
        }
        deployment.open()  # a worker goes on from there
        more = [
            msgspec.structs.replace(event, message_id=f"m-more-{event.message_id}") for event in behave(8, 60, now())
        ]
        deployment.live_on(random.Random(8), more)
        deployment.drain()
        deployment.snapshot()
        assert_features_are_the_oracles(deployment, [*events, *more], now() / 1e6)
        assert_archived_once(deployment, [*events, *more])


def test_a_snapshot_that_a_replay_published_is_in_later_history(deployment: Deployment) -> None:
    deployment.append(behave(7, 60, now()))
    deployment.drain()
    replay.replay(deployment.settings, deployment.url)
    deployment.open()
    deployment.observe()
    deployment.drain()
    history.rebuild(deployment.home)
    [(head, held)] = deployment.taken.values()
    assert candidates_at(deployment.home, head.time) == {key: content(row) for key, row in held.items()}
    assert head.time in {stamp for _, stamp in read_history(deployment.home, "candidate")}


def test_a_replay_forgets_whom_the_archive_does_not_know(deployment: Deployment) -> None:
    deployment.append(behave(7, 60, now()))
    deployment.drain()
    stranger = msgspec.structs.replace(blank(LAYOUTS["customer"], "stranger"), applied=1)
    deployment.store.write("customer", [stranger])
    deployment.redis.set("another program's", "key")
    replay.replay(deployment.settings, deployment.url)
    assert deployment.store.read("customer", ["stranger"]) == [None]
    assert deployment.store.read("customer", ["bob"]) != [None]
    assert deployment.redis.get("another program's") == b"key"


def test_imported_history_and_live_events_make_one_history(deployment: Deployment) -> None:
    past = [
        msgspec.structs.replace(event, message_id=f"i-{event.message_id}") for event in behave(1, 80, now() - 9 * DAY)
    ]
    past.sort(key=lambda event: event.time)  # which is when they arrived
    import_events(deployment.home, past)
    first = behave(2, 40, now())
    deployment.append(first)
    deployment.drain()
    replay.replay(deployment.settings, deployment.url)
    deployment.open()
    second = [msgspec.structs.replace(event, message_id=f"m-2-{event.message_id}") for event in behave(3, 40, now())]
    deployment.live_on(random.Random(1), second)
    deployment.drain()
    deployment.snapshot()
    at = now() / 1e6
    everything = Oracle([*past, *first, *second])
    for customer, row in deployment.store.read_rows("customer", CUSTOMERS).items():
        assert close("customer", row, at, "p-3", "hats") == approximately(
            everything.customer(customer, at, "p-3", "hats")
        )
    rows = deployment.snapshot_rows()
    for candidate in ["*", *PRODUCTS, *PROMOTIONS]:
        row = rows["candidate", digest(candidate)]
        assert close("candidate", row, at) == approximately(everything.candidate(candidate, at))
    deployment.drain()
    history.rebuild(deployment.home)
    head, held = deployment.taken[max(deployment.taken)]
    assert candidates_at(deployment.home, head.time) == {key: content(row) for key, row in held.items()}


def test_rows_of_a_customer_are_in_order_where_imported_and_live_history_overlap(deployment: Deployment) -> None:
    live = behave(2, 60, now(), late=0.0)
    deployment.append(live)
    deployment.drain()
    import_events(
        deployment.home, [msgspec.structs.replace(event, time=now() + 1000) for event in behave(1, 60, now())]
    )
    history.rebuild(deployment.home)
    stamps: dict[str, list[int]] = {}
    for row, stamp in read_history(deployment.home, "customer"):
        assert row.applied == stamp
        stamps.setdefault(row.text, []).append(stamp)
    assert all(len(set(times)) == len(times) for times in stamps.values())
    oracle = Oracle([*live, *behave(1, 60, now())])
    for text, row in last_rows(deployment.home).items():
        times = sum(1 for customer, _ in oracle.seen if customer == text)
        assert len(stamps[text]) == times
        assert row.text == text


def test_imported_candidates_have_a_row_for_every_second_in_which_they_changed(home: Home) -> None:
    events = [
        Track(message_id=str(at), customer="bob", time=at, received=at, event="Product Viewed", properties=properties)
        for at, properties in [
            (END + 100, {"product_id": "p-1"}),
            (END + 200, {"product_id": "p-2"}),
            (END + SECOND + 5, {"product_id": "p-1"}),
        ]
    ]
    import_events(home, events)
    history.rebuild(home)
    found = {(row.text, stamp) for row, stamp in read_history(home, "candidate")}
    assert found == {
        ("p-1", END + SECOND),
        ("p-2", END + SECOND),
        ("*", END + SECOND),
        ("p-1", END + 2 * SECOND),
        ("*", END + 2 * SECOND),
    }


def test_what_the_catalog_says_holds_from_the_first_catalog_on_until_the_next(
    deployment: Deployment,
) -> None:
    common: dict[str, Any] = {"customer": "", "time": now(), "received": now()}
    first: dict[str, Any] = {"id": "o-1", "kind": "offer", "category": "shoes", "price": 9.5, "value": 2}
    second = [{**first, "price": 8.0}, {"id": "o-2", "kind": "content"}]
    catalogs: list[Event] = [
        CatalogPublished(message_id="1", version="1", candidates=[first], **common),
        CatalogPublished(message_id="2", version="2", candidates=second, **common),
    ]
    places = deployment.append(catalogs)
    deployment.drain()
    history.rebuild(deployment.home)
    rows = parquet.read_table(deployment.home.history / "attributes").to_pylist()
    assert [(row["candidate"], row["kind"], row["category"], row["price"], row["value"]) for row in rows] == [
        ("o-1", "offer", "shoes", 9.5, 2.0),
        ("o-1", "offer", "shoes", 8.0, 2.0),
        ("o-2", "content", "", 0.0, 1.0),  # as a candidate without a value serves
    ]
    stamps = [int(row["event_timestamp"].timestamp() * 1e6) for row in rows]
    assert stamps[0] == 0
    assert stamps[1:] == pytest.approx([places[1][1]] * 2, abs=1)


@pytest.mark.parametrize("view", ["customer", "candidate", "attributes"])
def test_a_history_of_which_a_file_was_cut_or_lost_is_not_current(home: Home, view: str) -> None:
    import_events(home, behave(1, 20, END))
    history.rebuild(home)
    open_store(home, "redis://127.0.0.1:6379")
    assert history.is_current(home)
    path = max((home.history / view).glob("*.parquet"))
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert not history.is_current(home)
    path.write_bytes(content)
    assert history.is_current(home)
    path.unlink()
    assert not history.is_current(home)


def test_history_is_current_until_the_archive_or_the_declarations_change(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not history.is_current(home)
    import_events(home, behave(1, 20, END))
    history.rebuild(home)
    assert history.is_current(home)
    import_events(home, behave(2, 20, END), "import-2")
    assert not history.is_current(home)
    history.rebuild(home)
    assert history.is_current(home)
    monkeypatch.setitem(LAYOUTS, "customer", msgspec.structs.replace(LAYOUTS["customer"], version="0"))
    assert not history.is_current(home)


def test_a_rebuild_that_fails_leaves_the_old_history_in_its_place(home: Home) -> None:
    import_events(home, behave(1, 20, END))
    history.rebuild(home)
    before = last_rows(home)
    import_events(home, behave(2, 20, END), "import-2")

    def fail(_done: int, _all: int) -> None:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        history.rebuild(home, fail)
    assert last_rows(home) == before
    history.rebuild(home)
    assert last_rows(home) != before
    assert {path.name for path in home.root.iterdir()} == {"archive", "history"}


def test_an_empty_archive_makes_an_empty_history_that_feast_can_read(home: Home, redis_url: str) -> None:
    rebuilt = history.rebuild(home)
    assert (rebuilt.events, rebuilt.rows) == (0, 0)
    layout = LAYOUTS["customer"]
    frame = pd.DataFrame({"customer": ["bob"], "event_timestamp": [pd.Timestamp.now("UTC")]})
    found = open_store(home, redis_url).get_historical_features(frame, [f"customer:{layout.numbers}"]).to_df()
    assert found[layout.numbers].isna().all()


def test_a_replay_is_refused_while_another_runs(deployment: Deployment) -> None:
    assert Lease(deployment.redis, stream.REPLAY, "another").hold()
    with pytest.raises(UnavailableError, match="another replay"):
        replay.replay(deployment.settings, deployment.url)


# Online equals offline


def join(store: FeatureStore, view: str, entities: list[str], at: int) -> columns.Columns:
    """The rows of a view at an instant, as training gets them from Feast."""
    layout = LAYOUTS[view]
    key = "customer" if view == "customer" else "candidate"
    times = pa.array([at] * len(entities)).cast(pa.timestamp("us", tz="UTC"))
    labels = pa.table({key: entities, "event_timestamp": times})
    names = [f"{view}:{layout.numbers}", f"{view}:{layout.ids}"]
    table = store.get_historical_features(labels, names).to_arrow()
    empty = pack(blank(layout, ""))
    rows = zip(table[layout.numbers].to_pylist(), table[layout.ids].to_pylist(), strict=True)
    return columns.decode_rows(layout, [empty if row[0] is None else row for row in rows])


def read_online(deployment: Deployment, view: str, entities: list[str]) -> columns.Columns:
    """The same rows as the service gets them."""
    layout = LAYOUTS[view]
    if view == "customer":
        found = deployment.store.read(view, entities)
        packed = [pack(blank(layout, "")) if row is None else (row.numbers, row.ids) for row in found]
        return columns.decode_rows(layout, packed)
    rows = deployment.snapshot_rows()
    return columns.decode_rows(layout, [pack(rows.get((view, digest(one)), blank(layout, one))) for one in entities])


@pytest.mark.parametrize("seed", range(4))
def test_features_closed_now_online_equal_the_point_in_time_join_at_the_same_instant(
    redis_server: Server, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    with deployed(redis_server, tmp_path_factory) as deployment:
        deployment.live_on(random.Random(seed), behave(seed, 30 + 40 * seed, now()))
        deployment.drain()
        deployment.snapshot()
        deployment.drain()
        at = now()
        entities = {"customer": [*CUSTOMERS, "nobody"]}
        entities["candidate"] = entities["successors"] = [*PRODUCTS, *PROMOTIONS, "*", "nothing"]
        history.rebuild(deployment.home)
        feast = open_store(deployment.home, deployment.url)
        for view, names in entities.items():
            owner = np.repeat(np.arange(len(names)), len(PRODUCTS))
            keys = {
                "candidate": np.tile([digest(product) for product in PRODUCTS], len(names)),
                "category": np.tile([digest(category or "") for category in PRODUCTS.values()], len(names)),
            }
            instants = np.full(len(names), at / 1e6)
            online = columns.close(read_online(deployment, view, names), instants, owner, keys)
            offline = columns.close(join(feast, view, names, at), instants, owner, keys)
            assert online.keys() == offline.keys()
            for name, values in online.items():
                np.testing.assert_allclose(offline[name], values, rtol=0, atol=1e-6, equal_nan=True, err_msg=name)


def test_a_join_in_the_past_says_what_the_oracle_says_of_the_events_until_then(home: Home, redis_url: str) -> None:
    events = behave(11, 120, END, late=0.0)
    import_events(home, events)
    history.rebuild(home)
    feast = open_store(home, redis_url)
    for count in (1, 40, 90, 120):
        at = events[count - 1].time
        until = Oracle([event for event in events if event.time <= at])
        joined = join(feast, "customer", CUSTOMERS, at)
        for number, customer in enumerate(CUSTOMERS):
            keys = {"candidate": np.array([digest("p-2")]), "category": np.array([digest("coats")])}
            one = columns.close(joined.take(np.array([number])), np.array([at / 1e6]), np.zeros(1, np.int64), keys)
            assert {name: float(value[0]) for name, value in one.items()} == approximately(
                until.customer(customer, at / 1e6, "p-2", "coats")
            )
