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
from features.aggregates.rows import LAYOUTS, Layout, Row, blank, merge, pack, unpack
from features.connection import ONCE, Line
from features.redis_urls import connection_string as connection_string
from features.views import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from features.home import Home

PROJECT = "kairos"
JOINED = ("owner", "consent", "linked", "assignment", "assigned")
"""The features of the view `identity`."""


class Packed(msgspec.Struct, frozen=True):
    """A row as stored."""

    applied: int
    numbers: NDArray[np.float64]
    ids: NDArray[np.int64]

    def unpack(self, layout: Layout, text: str) -> Row:
        """As live states."""
        return unpack(layout, text, self.applied, self.numbers.tolist(), self.ids.tolist())

    def merged(self, other: Packed) -> Packed:
        """The row of a customer who is both; of rows of the view `customer`."""
        layout = LAYOUTS["customer"]
        row = merge(layout, self.unpack(layout, ""), other.unpack(layout, ""))
        numbers, ids = pack(row)
        return Packed(row.applied, np.array(numbers, np.float64), np.array(ids, np.int64))


class Known(msgspec.Struct, frozen=True):
    """What is stored of one id."""

    row: Packed | None
    owner: str
    """The id that it was joined to, or empty."""
    consent: Mapping[str, tuple[int, bool]] = {}
    """Purpose -> when, in microseconds, and what was said of it last."""


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
        self.line = Line(redis_url)
        self._config = configure(home, redis_url)
        self._store = RedisOnlineStore()
        self._store._get_client(self._config.online_store).set_retry(ONCE)  # its writes are under a lease
        self._views = views.build(home.history)
        self._fields = [*self._hashed("customer", _wanted(LAYOUTS["customer"])), *self._hashed(IDENTITY, JOINED)]

    def _hashed(self, view: str, names: Sequence[str]) -> list[str | bytes]:
        """The fields of the Redis hash in which Feast keeps these features of a view."""
        _, fields = self._store._generate_hset_keys_for_features(self._views[view], list(names))
        return list(fields)[: len(names)]

    async def read_customers(self, customers: Sequence[str]) -> list[Known]:
        """What is stored of each id, in one round trip. Raises redis.RedisError.

        What Feast's `online_read_async` does, without what it does anew for each read: names, hashes, a pipeline.
        """
        found = await self.line.ask_all([("HMGET", self.redis_key(customer), *self._fields) for customer in customers])
        return [_known(values) for values in found]

    def read(self, view: str, entities: Sequence[str]) -> list[Packed | None]:
        """The rows of `entities`, None where unknown, in one round trip."""
        layout = LAYOUTS[view]
        keys = [_key(_join_key(view), entity) for entity in entities]
        rows = self._store.online_read(self._config, self._views[view], keys, _wanted(layout))
        return [_opened(values, layout) for _, values in rows]

    def read_rows(self, view: str, entities: Sequence[str]) -> dict[str, Row]:
        """The known ones among `entities` as live states."""
        rows = {}
        for text, packed in zip(entities, self.read(view, entities), strict=True):
            if packed is not None:
                rows[text] = packed.unpack(LAYOUTS[view], text)
        return rows

    def load_customers(self, customers: Sequence[str]) -> dict[str, Row]:
        """The customers' live states, with whom they were joined to; blank ones of the unknown."""
        layout = LAYOUTS["customer"]
        with self._store._get_client(self._config.online_store).pipeline(transaction=False) as pipe:
            for text in customers:
                pipe.hmget(self.redis_key(text), self._fields)
            found = pipe.execute()
        rows = {}
        for text, values in zip(customers, found, strict=True):
            packed = _known(values).row
            row = rows[text] = blank(layout, text) if packed is None else packed.unpack(layout, text)
            if values[3] is not None:
                owner, said, linked, assignment, assigned = (Value.FromString(value) for value in values[3:])
                row.owner, row.linked = owner.string_val, linked.int64_val
                row.consent = _consent.decode(said.string_val)
                row.assignment, row.assigned = assignment.string_val, assigned.int64_val
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

    def write_identities(self, rows: Iterable[Row]) -> None:
        """Write whom the rows' ids were joined to, and under which id each was seen first."""
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]] = []
        for row in rows:
            values = {
                "owner": Value(string_val=row.owner),
                "consent": Value(string_val=msgspec.json.encode(row.consent).decode()),
                "linked": Value(int64_val=row.linked),
                "assignment": Value(string_val=row.assignment),
                "assigned": Value(int64_val=row.assigned),
            }
            data.append((_key("customer", row.text), values, datetime.fromtimestamp(row.applied / 1e6, UTC), None))
        if data:
            self._store.online_write_batch(self._config, self._views[IDENTITY], data, None)

    def forget(self, customers: Iterable[str]) -> None:
        """Delete all that is stored of these customers."""
        if keys := [self.redis_key(customer) for customer in customers]:
            self._store._get_client(self._config.online_store).unlink(*keys)

    async def close(self) -> None:
        """Close the connections of the present event loop, and all others."""
        await self.line.close()
        self._store._get_client(self._config.online_store).close()


def _join_key(view: str) -> str:
    return "customer" if view == "customer" else "candidate"


def _key(join_key: str, entity: str) -> EntityKey:
    return EntityKey(join_keys=[join_key], entity_values=[Value(string_val=entity)])


def _wanted(layout: Layout) -> list[str]:
    return ["applied", layout.numbers, layout.ids]  # a fresh list each time: Feast appends to it


def _known(values: list[bytes | None]) -> Known:
    """Of a hash's fields in the store's order."""
    applied, numbers, ids, owner, said = values[:5]
    row = None
    if applied and ids is not None and numbers is not None:
        row = _open(Value.FromString(applied), Value.FromString(numbers), Value.FromString(ids))
    if owner is None or said is None:
        return Known(row, "")
    return Known(row, Value.FromString(owner).string_val, _consent.decode(Value.FromString(said).string_val))


_consent = msgspec.json.Decoder(dict[str, tuple[int, bool]])


def _opened(values: dict[str, Value] | None, layout: Layout) -> Packed | None:
    if values is None or not values["applied"].WhichOneof("val"):
        return None
    if not values[layout.ids].WhichOneof("val"):
        return None  # written under other declarations: as if unknown, until a replay
    return _open(values["applied"], values[layout.numbers], values[layout.ids])


def _open(applied: Value, numbers: Value, ids: Value) -> Packed:
    # numpy reads protobuf's lists at once; an empty one comes without a type.
    return Packed(
        applied.int64_val,
        np.asarray(numbers.double_list_val.val, np.float64),
        np.asarray(ids.int64_list_val.val, np.int64),
    )
