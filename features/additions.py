"""Whether declarations are the same live and backfilled: a deployment of its own takes the archive's events in once
more, through streams, worker and online store; then its history is rebuilt, joined as training joins it, and compared.

What runs is not touched: the home is only read.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from features import archive, embedded, history, replay, snapshots, stream
from features.aggregates.declared import ANY
from features.aggregates.rows import LAYOUTS, Row, blank, pack
from features.agreement import Difference, compare
from features.connection import connect
from features.events.occurrences import read
from features.events.schema import decode, encode
from features.leases import hold_all_back
from features.settings import Settings
from features.store import OnlineStore, open_store
from features.streaming import BATCH, load_row, parse_field

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feast import FeatureStore
    from redis import Redis

    from features.aggregates.declared import Aggregate
    from features.aggregates.rows import Layout
    from features.agreement import Packed
    from features.events.schema import Event
    from features.home import Home
    from features.leases import Lease

    Progress = Callable[[str, int, int], None]

STAMP = pa.timestamp("us", tz="UTC")
SAID = ("track", "identify", "page", "screen", "group", "alias")
"""Types of events that clients send; the rest of an archive is made by the parts that this starts anew."""
AT_ONCE = 5000
ROWS = 2000
"""Most rows of a view that are compared at an instant."""


class AdditionError(ValueError):
    """Why nothing can be compared; the message says what would help."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One declaration, live beside backfilled."""

    aggregate: Aggregate
    events: int
    """How many of its events there were: without any, agreement says nothing."""
    difference: Difference


class Report(msgspec.Struct, frozen=True, kw_only=True):
    compared: list[Compared]
    events: int
    instants: list[int]
    """Microseconds: the time of the latest event each time."""
    rows: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was online at an instant."""

    now: int
    rows: dict[str, list[tuple[Row, int]]]
    """View -> rows, each with the time to join history at."""


def check(
    home: Home, scratch: Home, aggregates: Sequence[Aggregate], most: int, instants: int, progress: Progress
) -> Report:
    """Compare at `instants`, spread over the newest `most` events of the archive (0 for all).

    `scratch` is an empty home; `progress` is told (step, done, in all). Raises AdditionError without events.
    """
    events = _read_events(home, most)
    settings = Settings(home=scratch)
    server = embedded.start(scratch)
    try:
        with connect(server.url) as redis, hold_all_back(redis, settings.partitions, f"check-{uuid.uuid4()}") as lease:
            seen = _live(settings, redis, server.url, lease, events, instants, progress)
        history.rebuild(scratch, lambda done, of: progress("backfill", done, of))
        return _compare(scratch, server.url, aggregates, seen, events)
    finally:
        embedded.stop(server)


def _read_events(home: Home, most: int) -> list[Event]:
    payloads = archive.read(home.archive, ["payload"], types=SAID)["payload"]
    if not len(payloads):
        raise AdditionError(f"{home.archive} has no events: import or send some, then try again")
    # As they first came: what they were handed on by happens anew.
    newest = payloads.slice(max(len(payloads) - most, 0) if most else 0).to_pylist()
    return [msgspec.structs.replace(decode(payload), via=[]) for payload in newest]


def _live(
    settings: Settings,
    redis: Redis,
    redis_url: str,
    lease: Lease,
    events: list[Event],
    instants: int,
    progress: Progress,
) -> list[Seen]:
    """Take the events in, and look at what is online from time to time."""
    store = OnlineStore(settings.home, redis_url)
    snapshotter = snapshots.Snapshotter(redis, store, range(settings.partitions))
    stops = sorted({len(events) * (number + 1) // instants for number in range(instants)} - {0})
    seen, done = [], 0
    for behind in stops:
        while done < behind:
            some = events[done : min(done + AT_ONCE, behind)]
            _append(settings, redis, some)
            replay.catch_up(settings, redis, store, lease)
            done += len(some)
            progress("live", done, len(events))
        snapshotter.refresh(time.time_ns() // 1000)
        replay.catch_up(settings, redis, store, lease)  # the snapshot's own marker goes into the archive too
        seen.append(_look(redis, store, events[:behind]))
    return seen


def _append(settings: Settings, redis: Redis, events: list[Event]) -> None:
    by_partition: dict[int, list[stream.Message]] = {}
    for event in events:
        number = stream.partition_of(event.customer, settings.partitions)
        by_partition.setdefault(number, []).append(stream.Message(None, encode(event)))
    for number, messages in by_partition.items():
        for start in range(0, len(messages), BATCH):
            stream.append(redis, number, messages[start : start + BATCH], time.time())


def _look(redis: Redis, store: OnlineStore, events: list[Event]) -> Seen:
    customers = sorted({text for event in events for text in (event.customer, event.user_id) if text})
    rows = {"customer": [(row, row.applied) for row in store.read_rows("customer", _some(customers)).values()]}
    payload: Any = redis.get(snapshots.HEAD)
    fields: dict[bytes, bytes] = redis.hgetall(snapshots.ROWS)  # type: ignore[assignment]  # redis-py's types
    for field, stored in sorted(fields.items()):
        key = parse_field(field)
        if key is not None:
            joined_at = snapshots.decode_head(payload).time
            rows.setdefault(key[0], []).append((load_row(key[0], stored), joined_at))
    return Seen(now=max(event.time for event in events), rows={view: _some(found) for view, found in rows.items()})


def _some(items: list[Any]) -> list[Any]:
    """At most ROWS, spread evenly."""
    return items[:: -(-len(items) // ROWS)] if items else items


def _compare(
    home: Home, redis_url: str, aggregates: Sequence[Aggregate], seen: list[Seen], events: list[Event]
) -> Report:
    """Each row that was online beside the one that training joins at its time."""
    found: dict[str, Difference] = {}
    rows = 0
    feast = open_store(home, redis_url)
    for view in {aggregate.entity: None for aggregate in aggregates}:
        layout = LAYOUTS[view]
        for look in seen:
            live = look.rows.get(view, [])
            if not live:
                continue
            joined = _join(feast, layout, live)
            differences = compare(layout, [pack(row) for row, _ in live], joined, look.now / 1e6)
            found |= {name: found.get(name, Difference()) + one for name, one in differences.items()}
            rows += len(live)
    names = Counter(occurrence.name for event in events if (occurrence := read(event)) is not None)
    compared = [
        Compared(
            aggregate=aggregate,
            events=sum(_count(names, group) for group in aggregate.events),
            difference=sum((found.get(output, Difference()) for output in aggregate.outputs), Difference()),
        )
        for aggregate in aggregates
    ]
    return Report(compared=compared, events=len(events), instants=[look.now for look in seen], rows=rows)


def _count(names: Counter[str], group: tuple[str, ...]) -> int:
    return names.total() if ANY in group else sum(names[name] for name in group)


def _join(feast: FeatureStore, layout: Layout, rows: list[tuple[Row, int]]) -> list[Packed]:
    """What history has of the rows at their times, as training asks for it."""
    key = "customer" if layout.view == "customer" else "candidate"
    stamps = pa.array([at for _, at in rows], pa.int64()).cast(STAMP)
    labels = pa.table({key: pa.array([row.text for row, _ in rows]), "event_timestamp": stamps})
    references = [f"{layout.view}:{name}" for name in (layout.numbers, layout.ids)]
    table = feast.get_historical_features(entity_df=labels, features=references).to_arrow()
    nothing = pack(blank(layout, ""))
    return [
        nothing if ids is None else (numbers, ids)
        for numbers, ids in zip(table[layout.numbers].to_pylist(), table[layout.ids].to_pylist(), strict=True)
    ]
