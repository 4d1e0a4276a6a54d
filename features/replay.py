"""Archive -> online store, beside live traffic: a new generation is built while the old one serves, brought up to what
the workers have done meanwhile, and takes its place at once. Workers wait for the last step only.

Whatever ends a replay early, the old generation serves on, and the next replay cleans up.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from features import archive, checkpoints, generations, several, staging, stream
from features.aggregates.rows import LAYOUTS, Row
from features.archive.places import at
from features.archive.reading import erasures
from features.bulk import write_customers
from features.connection import connect
from features.extraction import extract
from features.finals import Final, settle
from features.following import Follower
from features.leases import hold, hold_all_back
from features.occupancy import UnavailableError
from features.store import OnlineStore
from features.streaming import BATCH, Partition, Processor

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from features.leases import Lease
    from features.settings import Settings

FEW = 500
"""Entries that the workers wait for, at most, unless they come faster than they are followed."""
ROUNDS = 50
MUCH = 4 << 20
"""Bytes of an archive from which on other processes help."""
FLUSH_SECONDS = 5.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did."""

    events: int
    customers: int
    candidates: int
    followed: int
    """Events that came meanwhile."""
    paused: float
    """Seconds that the workers waited."""
    seconds: float


def replay(
    settings: Settings,
    redis_url: str,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    whole: bool = False,
) -> Report:
    """Rebuild all features that decisions use from the archive. `progress` is told (events done, events in all).

    It goes on from the states that the last replay has left, where only little has come since, unless the `whole` of
    the archive is asked for.
    Raises UnavailableError when another replay runs or the catalog changes what may be tracked meanwhile,
    redis.RedisError when Redis goes away.
    """
    began = time.monotonic()
    owner = f"replay-{uuid.uuid4()}"
    numbers = [archive.IMPORTED, *range(settings.partitions)]
    with connect(redis_url) as redis, hold(redis, generations.REBUILD, owner) as lease:
        generations.clean(redis, staging.stages(numbers))
        _settle(settings, redis, redis_url, owner)
        tracked, replayed = redis.get(stream.TRACKED), _describe(settings)
        store = OnlineStore(settings.home, redis_url, generations.begin(redis))
        with several.uncollected():
            version = _version(settings)
            kept = None if whole or generations.erased(redis) else checkpoints.read(settings.home, version)
            size = sum(file.size for file in archive.files(settings.home.archive))
            with several.spread(size > MUCH and kept is None) as pool:
                final = kept or settle(extract(settings.home.archive, progress, pool), generations.erased(redis), pool)
                progress(final.events, final.events)
                _write(redis, store, final, lease)
            if size > MUCH:
                checkpoints.write(settings.home, version, final)
                if version != _version(settings):  # somebody was erased meanwhile
                    checkpoints.forget(settings.home)
        positions = {number: final.cursors.get(number, 0) for number in numbers}
        follower = Follower(redis, store, final.candidates.result(), positions, final.moved, tracked != b"0")
        followed = _follow(redis, follower, store, lease)
        with hold_all_back(redis, settings.partitions, owner) as last:
            paused = time.monotonic()
            followed += _follow(redis, follower, store, last, few=0)
            if redis.get(stream.TRACKED) != tracked:
                raise UnavailableError("the catalog has changed what may be tracked meanwhile: replay again")
            last.check()
            lease.check()
            if not staging.flip(redis, owner, store.generation, follower.positions, replayed):
                raise UnavailableError("this replay took too long to hold the workers back: replay again")
        paused = time.monotonic() - paused
        generations.clean(redis, staging.stages(numbers))
    return Report(
        events=final.events,
        customers=len(final.alone.texts) + len(final.rows),
        candidates=len({key for part in follower.candidates.values() for key in part.candidate}),
        followed=followed,
        paused=paused,
        seconds=time.monotonic() - began,
    )


def is_current(settings: Settings, redis_url: str) -> bool:
    """Whether what is online has all imports in it, under the present declarations."""
    with connect(redis_url) as redis:
        said: Any = redis.get(generations.REPLAYED)
    return bool(said == _describe(settings).encode())


def _describe(settings: Settings) -> str:
    imports = sorted(file.path for file in archive.files(settings.home.archive) if file.name.startswith("import"))
    versions = [layout.version for layout in LAYOUTS.values()]
    return hashlib.blake2b("\n".join([*versions, *imports]).encode(), digest_size=16).hexdigest()


def _version(settings: Settings) -> str:
    """What a checkpoint is of, but for how much of the archive."""
    return f"{_describe(settings)}:{erasures(at(settings.home.archive))}"


def _settle(settings: Settings, redis: Redis, redis_url: str, owner: str) -> None:
    """Bring what has been acknowledged into the archive: by the workers, or in their place where there are none."""
    numbers = range(settings.partitions)
    if not redis.exists(*[stream.lease_key(number) for number in numbers]):
        with hold_all_back(redis, settings.partitions, owner) as lease:
            catch_up(settings, redis, OnlineStore(settings.home, redis_url), lease)
        return
    until = _read(redis, [stream.cursor_key(number) for number in numbers])
    redis.xadd(stream.FLUSH, {"by": "replay"}, maxlen=1000)
    deadline = time.monotonic() + FLUSH_SECONDS
    archived = [stream.archived_key(number) for number in numbers]
    while any(done < position for done, position in zip(_read(redis, archived), until, strict=True)):
        if time.monotonic() > deadline:
            break  # what is not there yet is followed in the streams
        time.sleep(0.02)


def _read(redis: Redis, keys: list[str]) -> list[int]:
    found: Any = redis.mget(keys)
    return [int(value or 0) for value in found]


def _write(redis: Redis, store: OnlineStore, final: Final, lease: Lease) -> None:
    alone = final.alone
    write_customers(store, alone.texts, alone.applied, alone.packed, lease.check)
    said = [
        Row(text, 0, [], consent=alone.consents.get(text, {}), traits=alone.traits.get(text, {}))
        for text in sorted(alone.consents.keys() | alone.traits.keys())
    ]
    rows = [*final.rows.values()]
    happened = [row for row in rows if row.applied]  # of who only told traits there is no behaviour
    for start in range(0, len(happened), BATCH):
        lease.check()
        store.write("customer", happened[start : start + BATCH])
    identified = [*said, *(row for row in rows if row.owner or row.assignment or row.consent or row.traits)]
    for start in range(0, len(identified), BATCH):
        lease.check()
        store.write_identities(identified[start : start + BATCH])
    candidates = final.candidates.result()
    staging.write(redis, store, candidates, staging.all_rows(candidates), lease.check)


def _follow(redis: Redis, follower: Follower, store: OnlineStore, lease: Lease, few: int = FEW) -> int:
    """Follow the workers until only a few entries are left -> how many were taken in."""
    followed = 0
    for _ in range(ROUNDS) if few else count():
        number, changed = follower.follow(lease.check)
        staging.write(redis, store, follower.candidates, changed, lease.check)
        followed += number
        if number <= few:
            break
    return followed


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
