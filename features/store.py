"""The one door to Feast: packed rows in and out of the online store, and the store object for point-in-time joins."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np

import features.quiet_feast  # noqa: F401  # before Feast

# isort: split
from feast import FeatureStore, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, Int64List, Value

from features import views
from features.aggregates.rows import LAYOUTS, Layout, Row, pack, unpack
from features.connection import ONCE
from features.redis_urls import connection_string as connection_string

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from features.home import Home

PROJECT = "kairos"


class Packed(msgspec.Struct, frozen=True):
    """A row as stored."""

    applied: int
    numbers: Sequence[float]
    ids: Sequence[int]


def configure(home: Home, redis_url: str) -> RepoConfig:
    return RepoConfig(
        project=PROJECT,
        provider="local",
        registry=str(home.registry),
        offline_store={"type": "features.offline.AsofOfflineStore"},
        online_store={
            "type": "redis",
            "connection_string": connection_string(redis_url),
            # One writer an entity and timestamps of our own: the check that drops equal timestamps costs a round trip
            # and would refuse a replay's rewrite of the same instant.
            "skip_dedup": True,
        },
        entity_key_serialization_version=3,
    )


def open_store(home: Home, redis_url: str) -> FeatureStore:
    """A Feast store with Kairos' views applied: for point-in-time joins and for notebooks."""
    home.root.mkdir(parents=True, exist_ok=True)
    built = views.build(home.history)
    for name in built:
        (home.history / name).mkdir(parents=True, exist_ok=True)
    store = FeatureStore(config=configure(home, redis_url))
    store.apply([views.CUSTOMER, views.CANDIDATE, *built.values()])
    return store


class OnlineStore:
    """Packed rows in Feast's Redis online store, past its registry: one HMGET reads, one pipeline writes a batch."""

    def __init__(self, home: Home, redis_url: str) -> None:
        self._config = configure(home, redis_url)
        self._store = RedisOnlineStore()
        self._store._get_client(self._config.online_store).set_retry(ONCE)  # its writes are under a lease
        self._views = views.build(home.history)

    async def read_customer(self, customer: str) -> Packed | None:
        """The customer's row, or None if unknown. Raises redis.RedisError."""
        layout = LAYOUTS["customer"]
        rows = await self._store.online_read_async(
            self._config, self._views["customer"], [_key("customer", customer)], _wanted(layout)
        )
        return _opened(layout, rows[0][1])

    def read(self, view: str, entities: Sequence[str]) -> list[Packed | None]:
        """The rows of `entities`, None where unknown, in one round trip."""
        layout = LAYOUTS[view]
        keys = [_key(_join_key(view), entity) for entity in entities]
        rows = self._store.online_read(self._config, self._views[view], keys, _wanted(layout))
        return [_opened(layout, values) for _, values in rows]

    def read_rows(self, view: str, entities: Sequence[str]) -> dict[str, Row]:
        """The known ones among `entities` as live states."""
        rows = {}
        for text, packed in zip(entities, self.read(view, entities), strict=True):
            if packed is not None:
                # Through numpy, which reads protobuf's lists at once.
                numbers, ids = np.asarray(packed.numbers).tolist(), np.asarray(packed.ids).tolist()
                rows[text] = unpack(LAYOUTS[view], text, packed.applied, numbers, ids)
        return rows

    def redis_key(self, customer: str) -> bytes:
        """The key of a customer's hash."""
        return serialize_entity_key(_key("customer", customer), 3) + PROJECT.encode()

    def write(self, view: str, rows: Iterable[Row]) -> None:
        """Write rows, stamped with their `applied` time, by one pipeline of protobufs."""
        layout = LAYOUTS[view]
        join_key = _join_key(view)
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]] = []
        for row in rows:
            numbers, ids = pack(row)
            values = {
                "applied": Value(int64_val=row.applied),
                layout.numbers: Value(double_list_val=DoubleList(val=numbers)),
                layout.ids: Value(int64_list_val=Int64List(val=ids)),
            }
            data.append((_key(join_key, row.text), values, datetime.fromtimestamp(row.applied / 1e6, UTC), None))
        if data:
            self._store.online_write_batch(self._config, self._views[view], data, None)

    async def close(self) -> None:
        """Close the connections of the present event loop, and all others."""
        if self._store._client_async:
            await self._store._client_async.aclose()
            self._store._client_async = None
        self._store._get_client(self._config.online_store).close()


def _join_key(view: str) -> str:
    return "customer" if view == "customer" else "candidate"


def _key(join_key: str, entity: str) -> EntityKey:
    return EntityKey(join_keys=[join_key], entity_values=[Value(string_val=entity)])


def _wanted(layout: Layout) -> list[str]:
    return ["applied", layout.numbers, layout.ids]  # a fresh list each time: Feast appends to it


def _opened(layout: Layout, values: dict[str, Value] | None) -> Packed | None:
    if values is None or not values["applied"].WhichOneof("val"):
        return None
    numbers, ids = values[layout.numbers], values[layout.ids]
    if not ids.WhichOneof("val"):
        return None  # written under other declarations: as if unknown, until a replay
    return Packed(values["applied"].int64_val, numbers.double_list_val.val, ids.int64_list_val.val)
