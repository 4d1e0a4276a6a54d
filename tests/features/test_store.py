"""The online store through Feast: rows in and out, and what Feast does with connection strings and lists."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
import numpy as np
import pytest
from feast.infra.online_stores.redis import RedisOnlineStore
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from features.aggregates import rows
from features.aggregates.packing import PackedRows
from features.aggregates.rows import LAYOUTS, Row, blank, pack
from features.bulk import write_customers
from features.occupancy import UnavailableError
from features.store import OnlineStore, Packed, connection_string, open_store
from tests.features.behaviour import behave
from tests.features.deployment import now
from tests.features.oracle import advance

if TYPE_CHECKING:
    from features.home import Home


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", "127.0.0.1:6379"),
        ("redis://cache", "cache:6379"),
        ("redis://:secret@127.0.0.1:7000/0", '127.0.0.1:7000,password="secret",db=0'),
        ("redis://ann:secret@cache:7000/3", 'cache:7000,username="ann",password="secret",db=3'),
        ("rediss://cache", "cache:6379,ssl=true"),
        ("redis://cache?socket_timeout=2.5", "cache:6379,socket_timeout=2.5"),
    ],
)
def test_a_redis_url_becomes_feasts_connection_string(url: str, expected: str) -> None:
    assert connection_string(url) == expected


@pytest.mark.parametrize("url", ["unix:///run/redis.sock", "redis://[::1]:6379", "http://cache", "cache:6379"])
def test_a_url_that_feast_cannot_express_is_refused(url: str) -> None:
    with pytest.raises(UnavailableError, match="redis://host:port"):
        connection_string(url)


@given(password=st.text(min_size=1) | st.sampled_from(["123", "1e5", "true", "null", "a,b=c", '"quoted"', "a%2Cb"]))
def test_feast_reads_every_password_as_it_is(password: str) -> None:
    text = connection_string(f"redis://:{quote(password, safe='', errors='surrogatepass')}@cache:7000/1")
    nodes, options = RedisOnlineStore._parse_connection_string(text)
    assert nodes == [{"host": "cache", "port": "7000"}]
    assert options == {"password": password, "db": 1}


@pytest.fixture
def store(home: Home, redis_url: str) -> OnlineStore:
    return OnlineStore(home, redis_url)


def make_rows() -> list[Row]:
    """Rows of customers with and without many keys."""
    return [msgspec.structs.replace(row, applied=now()) for row in advance(behave(3, 60, now()))[0].values()]


def test_rows_come_back_as_they_were_written(store: OnlineStore) -> None:
    written = make_rows()
    store.write("customer", written)
    assert store.read_rows("customer", [row.text for row in written]) == {row.text: row for row in written}


def test_what_was_never_written_is_unknown(store: OnlineStore) -> None:
    store.write("customer", make_rows())
    assert store.read("customer", ["ann", "nobody", ""])[1:] == [None, None]
    assert store.read("candidate", ["ann"]) == [None]
    assert store.read_rows("customer", []) == {}
    assert asyncio.run(read_once(store, "nobody")) is None
    store.write("customer", [])


def test_a_customer_is_read_for_a_decision_as_for_the_worker(store: OnlineStore) -> None:
    written = make_rows()
    store.write("customer", written)
    for row in written:
        packed = asyncio.run(read_once(store, row.text))
        assert packed is not None
        assert packed.unpack(LAYOUTS["customer"], row.text) == row
        assert (list(packed.numbers), list(packed.ids)) == pack(row)


async def read_once(store: OnlineStore, customer: str) -> Packed | None:
    [known] = await store.read_customers([customer])
    await store.close()
    return known.row


def test_a_row_written_again_at_the_same_time_or_an_earlier_one_is_replaced(store: OnlineStore) -> None:
    first, second = make_rows()[0], make_rows()[1]
    second = msgspec.structs.replace(second, text=first.text, applied=first.applied)
    third = msgspec.structs.replace(first, applied=first.applied - 5)
    for row in (first, second, third):
        store.write("customer", [row])
        assert store.read_rows("customer", [first.text]) == {first.text: row}


def test_a_candidates_two_views_do_not_disturb_each_other(store: OnlineStore) -> None:
    candidate, successors = (
        msgspec.structs.replace(blank(LAYOUTS[view], "p-1"), applied=7 + at)
        for at, view in enumerate(["candidate", "successors"])
    )
    store.write("candidate", [candidate])
    assert store.read("successors", ["p-1"]) == [None]
    store.write("successors", [successors])
    assert store.read_rows("candidate", ["p-1"]) == {"p-1": candidate}
    assert store.read_rows("successors", ["p-1"]) == {"p-1": successors}


def test_a_row_of_other_declarations_is_unknown_until_it_is_written_again(
    home: Home, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = make_rows()[:3]
    OnlineStore(home, redis_url).write("customer", written)
    aggregates = LAYOUTS["customer"].aggregates
    monkeypatch.setitem(LAYOUTS, "customer", rows.lay_out("customer", aggregates[:-1]))
    store = OnlineStore(home, redis_url)
    assert store.read("customer", [row.text for row in written]) == [None] * 3
    changed = msgspec.structs.replace(written[0], states=written[0].states[:-1])
    store.write("customer", [changed])
    assert store.read_rows("customer", [changed.text]) == {changed.text: changed}


def test_repeated_reads_ask_for_the_same_features(store: OnlineStore, redis_url: str) -> None:
    """Feast appends to the list of features that it is given: a list used twice would grow with every read."""
    store.write("customer", make_rows())
    with Redis.from_url(redis_url) as client:
        client.config_resetstat()
        for _ in range(1000):
            store.read("customer", ["bob"])
        with client.monitor() as monitor:
            store.read("customer", ["bob"])
            commands = [monitor.next_command()["command"].split(" ") for _ in range(1)]
    assert [command[0].upper() for command in commands] == ["HMGET"]
    assert len(commands[0]) == 2 + 4  # applied, numbers, ids and the timestamp


def test_the_key_of_a_customer_is_where_feast_keeps_the_row(store: OnlineStore, redis_url: str) -> None:
    store.write("customer", make_rows()[:1])
    with Redis.from_url(redis_url) as client:
        assert client.keys() == [store.redis_key(make_rows()[0].text)]


def test_many_customers_are_written_as_one_by_one(store: OnlineStore, home: Home, redis_url: str) -> None:
    some = [
        *make_rows(),
        msgspec.structs.replace(blank(LAYOUTS["customer"], "ünïcode ☂"), applied=1_700_000_000_000_001),
    ]
    packed = [pack(row) for row in some]
    starts, id_starts = (np.cumsum([0, *(len(lists[side]) for lists in packed)]) for side in (0, 1))
    columns = PackedRows(
        np.concatenate([np.array(numbers) for numbers, _ in packed]),
        starts,
        np.concatenate([np.array(ids, np.int64) for _, ids in packed]),
        id_starts,
    )
    applied = np.array([row.applied for row in some], np.int64)
    write_customers(OnlineStore(home, redis_url, 7), [row.text for row in some], applied, columns, lambda: None)
    store.write("customer", some)
    with Redis.from_url(redis_url) as client:
        for row in some:
            key = store.redis_key(row.text)
            assert client.hgetall(key + b"_7") == client.hgetall(key) != {}


def test_feast_itself_reads_what_was_written(home: Home, redis_url: str, store: OnlineStore) -> None:
    row = make_rows()[1]
    store.write("customer", [row])
    feast = open_store(home, redis_url)
    layout = LAYOUTS["customer"]
    names = ["applied", layout.numbers, layout.ids]
    answer = feast.get_online_features(
        features=[f"customer:{name}" for name in names], entity_rows=[{"customer": row.text}, {"customer": "nobody"}]
    ).to_dict()
    numbers, ids = pack(row)
    assert [answer[name] for name in names] == [[row.applied, None], [numbers, None], [ids, None]]


def test_the_store_may_be_opened_again_and_again(home: Home, redis_url: str) -> None:
    names = [{view.name for view in open_store(home, redis_url).list_feature_views()} for _ in range(2)]
    assert names == [{"customer", "candidate", "successors", "attributes", "identity"}] * 2
