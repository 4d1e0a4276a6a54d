"""Archive -> historical store -> online store, from scratch. Workers wait meanwhile, and events in their streams."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from features import archive, history, snapshots, stream
from features.connection import connect
from features.leases import hold_all_back
from features.store import PROJECT, OnlineStore
from features.streaming import BATCH, Partition, Processor, candidates_key, changed_key, row_field, store_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from features.aggregates.engine import Candidates
    from features.leases import Lease
    from features.settings import Settings


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did."""

    events: int
    rows: int
    customers: int
    candidates: int
    seconds: float


def replay(
    settings: Settings, redis_url: str, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Report:
    """Rebuild all features from the archive. `progress` is told (events done, events in all).

    Raises UnavailableError when another replay runs, redis.RedisError when Redis goes away.
    """
    began = time.monotonic()
    store = OnlineStore(settings.home, redis_url)
    with connect(redis_url) as redis, hold_all_back(redis, settings.partitions, f"replay-{uuid.uuid4()}") as lease:
        catch_up(settings, redis, store, lease)
        rebuilt = history.rebuild(settings.home, progress)
        _restore(settings, redis, store, rebuilt, lease)
    return Report(
        events=rebuilt.events,
        rows=rebuilt.rows,
        customers=len(rebuilt.customers),
        candidates=len({key for part in rebuilt.candidates.values() for key in part.candidate}),
        seconds=time.monotonic() - began,
    )


def catch_up(settings: Settings, redis: Redis, store: OnlineStore, lease: Lease) -> None:
    """Process and archive what stands in the streams; the caller holds all workers back."""
    processor = Processor(settings.home, redis, store, settings.partitions)
    partitions = [Partition(number, redis, settings.home) for number in range(settings.partitions)]
    while sum(_process_next(redis, processor, partition, lease) for partition in partitions):
        pass  # what one partition hands on comes to another
    for partition in partitions:
        lease.check()
        processor.flush(partition)


def _process_next(redis: Redis, processor: Processor, partition: Partition, lease: Lease) -> bool:
    """Whether there was something."""
    entries = read_entries(redis, partition)
    if entries:
        lease.check()
        processor.process(partition, entries, lease.check)
        processor.mark([partition], lease.check)
    return bool(entries)


def read_entries(redis: Redis, partition: Partition) -> list[tuple[int, bytes]]:
    """The next entries (arrival, bytes) of a partition."""
    key = stream.events_key(partition.number)
    found: Any = redis.xrange(key, min=f"({partition.position}-0", count=BATCH)
    return [parse_entry(entry) for entry in found]


def parse_entry(entry: tuple[bytes, dict[bytes, bytes]]) -> tuple[int, bytes]:
    entry_id, fields = entry
    return int(entry_id.split(b"-")[0]), fields[stream.FIELD]


def _restore(settings: Settings, redis: Redis, store: OnlineStore, rebuilt: history.Rebuilt, lease: Lease) -> None:
    numbers = [archive.IMPORTED, *range(settings.partitions)]
    for number in numbers:
        lease.check()
        _write_candidates(redis, number, rebuilt.candidates.get(number), rebuilt.cursors.get(number, 0))
    rows = list(rebuilt.customers.values())
    for start in range(0, len(rows), BATCH):
        lease.check()
        part = rows[start : start + BATCH]
        store.write("customer", part)
        store.write_identities([row for row in part if row.owner or row.assignment or row.consent])
    lease.check()
    _forget_customers(redis, store, set(rebuilt.customers))
    redis.delete(snapshots.ROWS)
    snapshotter = snapshots.Snapshotter(redis, store, numbers, afresh=True)
    snapshotter.refresh(time.time_ns() // 1000)


def _write_candidates(redis: Redis, number: int, candidates: Candidates | None, cursor: int) -> None:
    rows: dict[str, bytes] = {}
    arrivals: dict[str, float] = {}
    for view in ("candidate", "successors"):
        for key, row in getattr(candidates, view, {}).items():
            rows[row_field(view, key)] = store_row(row)
            arrivals[row_field(view, key)] = row.applied
    with redis.pipeline(transaction=True) as pipe:
        pipe.delete(candidates_key(number), changed_key(number))
        if rows:
            pipe.hset(candidates_key(number), mapping=rows)
            pipe.zadd(changed_key(number), arrivals)
        pipe.hset(candidates_key(number), "applied", str(cursor))
        pipe.set(stream.cursor_key(number), cursor)
        pipe.execute()


def _forget_customers(redis: Redis, store: OnlineStore, known: set[str]) -> None:
    """Delete rows of customers that the archive does not know (any more)."""
    keys = {store.redis_key(customer) for customer in known}
    prefix = store.redis_key("")[: -len(PROJECT) - 4]  # the key ends with the id's length, the id and the project
    stale = [
        key
        for key in redis.scan_iter(count=10_000)
        if key.startswith(prefix) and key.endswith(PROJECT.encode()) and key not in keys
    ]
    for start in range(0, len(stale), BATCH):
        redis.unlink(*stale[start : start + BATCH])
