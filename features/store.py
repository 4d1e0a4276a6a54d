"""The one door to Feast: packed rows in and out of the online store, and the store object for point-in-time joins."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

import features.quiet_feast  # noqa: F401  # before Feast

# isort: split
from feast import FeatureStore, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, Int64List, Value

from features import generations, newest, stream, views
from features.aggregates.rows import LAYOUTS, Layout, Row, pack
from features.connection import ONCE, Line
from features.consent import TRACKING, allows
from features.fencing import FencedRedis
from features.packed import Known as Known
from features.packed import Packed as Packed
from features.packed import open_known, open_live, open_values
from features.redis_urls import connection_string as connection_string
from features.views import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis import Redis

    from features.connection import Command
    from features.home import Home

JOINED = ("owner", "consent", "linked", "assignment", "assigned", "traits")
"""The features of the view `identity`."""
LOT = 64
"""Rows of one write: Redis answers nobody else meanwhile, and all candidates at once kept decisions waiting 12 ms."""


def configure(home: Home, redis_url: str) -> RepoConfig:
    return RepoConfig(
        project=generations.PROJECT,
        provider="local",
        registry=str(home.registry),
        offline_store={"type": "features.offline.AsofOfflineStore"},
        online_store={
            "type": "features.online.GenerationOnlineStore",
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


def read_store(home: Home) -> FeatureStore:
    """The same of views that `open_store` has applied, where several processes read at once; for joins alone."""
    return FeatureStore(config=configure(home, "redis://127.0.0.1:6379"))


class OnlineStore:
    """Packed rows in Feast's Redis online store, past its registry: one HMGET reads, one pipeline writes a batch.

    Of the generation that serves, or of the one that is given. A read notices in its own round trip that another one
    has come to serve, and is done again; who writes calls `follow` as soon as it may write.
    """

    def __init__(self, home: Home, redis_url: str, generation: int | None = None) -> None:
        self.line = Line(redis_url)
        self._config = configure(home, redis_url)
        self._store = RedisOnlineStore()
        self.client.set_retry(ONCE)  # its writes are under a lease
        self._store._client = FencedRedis(connection_pool=self.client.connection_pool)
        self._views = views.build(home.history)
        self._fields = [*self.fields_of("customer", _wanted(LAYOUTS["customer"])), *self.fields_of(IDENTITY, JOINED)]
        self._pinned = generation is not None
        self._following = self._pinned
        self._turn(generation or 0)

    @property
    def client(self) -> Redis:
        client: Redis = self._store._get_client(self._config.online_store)
        return client

    def _turn(self, generation: int) -> None:
        self.generation = generation
        self.project = generations.project_of(generation)

    def _is(self, generation: int, pointer: bytes | None) -> bool:
        """Whether that generation was the right one to read, as POINTER said behind the read; else turn to that."""
        serving = generations.parse(pointer)
        if self._pinned or serving == generation:
            return True
        self._turn(serving)
        return False

    def follow(self) -> None:
        """Turn to the generation that serves."""
        self._following = True
        if not self._pinned:
            self._turn(generations.current(self.client))

    def _turned(self) -> RepoConfig:
        """Feast's configuration of the generation to write."""
        if not self._following:
            self.follow()
        return self._config.model_copy(update={"project": self.project})

    def fields_of(self, view: str, names: Sequence[str]) -> list[str | bytes]:
        """The fields of the Redis hash in which Feast keeps these features of a view."""
        _, fields = self._store._generate_hset_keys_for_features(self._views[view], list(names))
        return list(fields)[: len(names)]

    async def read_customers(self, customers: Sequence[str]) -> list[Known]:
        """What is stored of each id, in one round trip. Raises redis.RedisError.

        What Feast's `online_read_async` does, without what it does anew for each read: names, hashes, a pipeline.
        """
        while True:
            generation = self.generation
            asked = [self._hash_of(customer) for customer in customers]
            *found, pointer = await self.line.ask_all([*asked, ("GET", generations.POINTER)])
            if self._is(generation, pointer):
                return [open_known(values) for values in found]

    def _hash_of(self, customer: str) -> tuple[str | bytes, ...]:
        return ("HMGET", self.redis_key(customer), *self._fields)

    async def read_newest(
        self,
        customers: Sequence[str],
        partitions: int,
        tracked: bool,
        beside: Sequence[Command] = (),
        seconds: float | None = None,
    ) -> tuple[list[Known], list[Any]]:
        """As `read_customers`, with the events in the rows that the worker has not come to yet; and what is answered to
        the commands `beside`.

        One round trip, and a second one where there are such events. `tracked`: whether who said nothing may be.
        Raises redis.RedisError, or TimeoutError after `seconds`.
        """
        places = [stream.partition_of(customer, partitions) for customer in customers]
        due = None if seconds is None else time.monotonic() + seconds
        while True:
            generation = self.generation
            asked: list[Command] = [("GET", generations.POINTER)]
            for customer, place in zip(customers, places, strict=True):
                kept = ("LRANGE", stream.newest_key(place, customer), 0, -1)
                asked += [self._hash_of(customer), kept, ("GET", stream.cursor_key(place))]
            pointer, *found = await self.line.ask_all([*asked, *beside], _left(due))
            if self._is(generation, pointer):
                break
        own = 3 * len(customers)
        known = [open_known(values) for values in found[:own:3]]
        for at, (kept, cursor) in enumerate(zip(found[1:own:3], found[2:own:3], strict=True)):
            if kept and allows(known[at].consent, TRACKING, tracked):
                place, customer = places[at], customers[at]
                known[at] = await newest.bring_up(self.line, known[at], customer, place, kept, cursor, _left(due))
        return known, found[own:]

    def read(self, view: str, entities: Sequence[str]) -> list[Packed | None]:
        """The rows of `entities`, None where unknown."""
        layout = LAYOUTS[view]
        keys = [_key(_join_key(view), entity) for entity in entities]
        while True:
            generation, config = self.generation, self._turned()
            rows = self._store.online_read(config, self._views[view], keys, _wanted(layout))
            pointer: bytes | None = self.client.get(generations.POINTER)  # type: ignore[assignment]  # redis-py's types
            if self._is(generation, pointer):
                return [open_values(values, layout) for _, values in rows]

    def read_rows(self, view: str, entities: Sequence[str]) -> dict[str, Row]:
        """The known ones among `entities` as live states."""
        rows = {}
        for text, packed in zip(entities, self.read(view, entities), strict=True):
            if packed is not None:
                rows[text] = packed.unpack(LAYOUTS[view], text)
        return rows

    def load_customers(self, customers: Sequence[str]) -> dict[str, Row]:
        """The customers' live states, with whom they were joined to; blank ones of the unknown. In one round trip."""
        while True:
            generation = self.generation
            with self.client.pipeline(transaction=False) as pipe:
                for text in customers:
                    pipe.hmget(self.redis_key(text), self._fields)  # type: ignore[arg-type]  # it takes bytes as well
                pipe.get(generations.POINTER)
                *found, pointer = pipe.execute()
            if self._is(generation, pointer):
                return {text: open_live(text, values) for text, values in zip(customers, found, strict=True)}

    def redis_key(self, customer: str) -> bytes:
        """The key of a customer's hash."""
        return serialize_entity_key(_key("customer", customer), 3) + self.project.encode()

    def write(self, view: str, rows: Iterable[Row]) -> None:
        """Write rows, stamped with their `applied` time, as protobufs, by pipelines of at most `LOT` rows."""
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
        for at in range(0, len(data), LOT):
            self._store.online_write_batch(self._turned(), self._views[view], data[at : at + LOT], None)

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
                "traits": Value(string_val=msgspec.json.encode(row.traits).decode() if row.traits else ""),
            }
            data.append((_key("customer", row.text), values, datetime.fromtimestamp(row.applied / 1e6, UTC), None))
        if data:
            self._store.online_write_batch(self._turned(), self._views[IDENTITY], data, None)

    def forget(self, customers: Iterable[str]) -> None:
        """Delete all that is stored of these customers."""
        self._turned()
        if keys := [self.redis_key(customer) for customer in customers]:
            self.client.unlink(*keys)

    async def close(self) -> None:
        """Close the connections of the present event loop, and all others."""
        await self.line.close()
        self.client.close()


def _left(due: float | None) -> float | None:
    """Seconds until then."""
    return None if due is None else due - time.monotonic()


def _join_key(view: str) -> str:
    return "customer" if view == "customer" else "candidate"


def _key(join_key: str, entity: str) -> EntityKey:
    return EntityKey(join_keys=[join_key], entity_values=[Value(string_val=entity)])


def _wanted(layout: Layout) -> list[str]:
    return ["applied", layout.numbers, layout.ids]  # a fresh list each time: Feast appends to it
