"""The streaming half of a deployment in one process, worked by hand: a real Redis, a real Feast, a home of its own."""

from __future__ import annotations

import time
from array import array
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyarrow import parquet
from redis import Redis

from features import archive, snapshots, stream
from features.aggregates.rows import LAYOUTS, Row, pack, unpack
from features.events.schema import Event, decode, encode
from features.home import Home
from features.ids import digest
from features.replay import read_entries
from features.settings import Settings
from features.snapshots import Head, Snapshotter
from features.store import OnlineStore
from features.streaming import Partition, Processor, load_row, parse_field

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator

    import pytest

    from features.embedded import Server


PARTITIONS = 3
Rows = dict[tuple[str, int], Row]


def now() -> int:
    return time.time_ns() // 1000


class Deployment:
    """A worker that owns all partitions and takes the snapshots."""

    def __init__(self, home: Home, redis_url: str) -> None:
        self.settings = Settings(home=home, redis_url=redis_url, partitions=PARTITIONS)
        self.home, self.url = home, redis_url
        self.redis = Redis.from_url(redis_url)
        self.store = OnlineStore(home, redis_url)
        self.taken: dict[int, tuple[Head, Rows]] = {}
        """Every snapshot by its number, with the rows that it held."""
        self.open()

    def open(self) -> None:
        """Start afresh from what Redis and the archive hold."""
        self.processor = Processor(self.home, self.redis, self.store, PARTITIONS)
        self.partitions = [Partition(number, self.redis, self.home) for number in range(PARTITIONS)]
        self.snapshotter = Snapshotter(self.redis, self.store, [archive.IMPORTED, *range(PARTITIONS)])

    def append(self, events: Iterable[Event]) -> list[tuple[int, int]]:
        """Append events one after another -> (partition, arrival) of each."""
        places = []
        for event in events:
            partition = stream.partition_of(event.customer, PARTITIONS)
            message = stream.Message(event.message_id, encode(event), event.customer)
            places.append((partition, stream.append(self.redis, partition, [message], time.time())[0]))
        return places

    def work(self, size: int, check: Callable[[], None] = lambda: None) -> int:
        """Process up to `size` entries of every partition -> how many there were."""
        done = 0
        for partition in self.partitions:
            if entries := read_entries(self.redis, partition)[:size]:
                self.processor.process(partition, entries, check)
                self.processor.mark([partition], check)
                done += len(entries)
        return done

    def drain(self) -> None:
        """Process and archive everything."""
        while self.work(500):
            pass
        self.flush()

    def flush(self) -> None:
        for partition in self.partitions:
            self.processor.flush(partition)

    def snapshot(self) -> Head | None:
        head = self.snapshotter.refresh(now())
        self.observe()
        return head

    def observe(self) -> None:
        """Remember the present snapshot as whoever decides with it sees it."""
        if (payload := self.redis.get(snapshots.HEAD)) is not None:
            head = snapshots.decode_head(payload)  # type: ignore[arg-type]  # redis-py's types
            self.taken[head.number] = (head, self.snapshot_rows())

    def snapshot_rows(self) -> Rows:
        """What the present snapshot holds."""
        rows: Rows = {}
        fields: dict[bytes, bytes] = self.redis.hgetall(snapshots.ROWS)  # type: ignore[assignment]  # redis-py's types
        for field, payload in fields.items():
            key = parse_field(field)
            assert key is not None
            rows[key] = load_row(key[0], payload)
        return rows

    def live_on(self, chance: random.Random, events: list[Event]) -> None:
        """Let the events come in while working in random steps."""
        events = list(events)
        while events:
            size = chance.randrange(1, 12)
            self.append(events[:size])
            del events[:size]
            if chance.random() < 0.7:
                self.work(chance.choice([1, 5, 500]))
            if chance.random() < 0.3:
                self.snapshot()
            if chance.random() < 0.2:
                self.flush()
            if chance.random() < 0.1:
                self.open()

    def archived(self) -> list[tuple[int, int, Event]]:
        """(partition, arrival, event) of everything in the archive."""
        table = archive.read(self.home.events, ["partition", "arrival", "payload"])
        return [(row["partition"], row["arrival"], decode(row["payload"])) for row in table.to_pylist()]

    def close(self) -> None:
        self.redis.close()


def content(row: Row) -> tuple[object, ...]:
    """A row's states, comparable to the bit."""
    numbers, ids = pack(row)
    return row.text, row.applied, array("d", numbers).tobytes(), ids


def candidates_at(home: Home, time: int) -> dict[tuple[str, int], tuple[object, ...]]:
    """The content of the candidates' rows that stand in history at an instant."""
    rows: dict[tuple[str, int], Row] = {}
    for view in ("candidate", "successors"):
        for row, stamp in read_history(home, view):
            if stamp <= time:
                rows[view, digest(row.text)] = row
    return {key: content(row) for key, row in rows.items()}


def read_history(home: Home, view: str) -> list[tuple[Row, int]]:
    """The rows of a view in the historical store with their stamps, by stamp."""
    layout = LAYOUTS[view]
    table = parquet.read_table(home.history / view)
    key = "customer" if view == "customer" else "candidate"
    stamps = table["event_timestamp"].cast("int64").to_pylist()
    rows = [
        (unpack(layout, row[key], row["applied"], row[layout.numbers], row[layout.ids]), stamp)
        for row, stamp in zip(table.to_pylist(), stamps, strict=True)
    ]
    return sorted(rows, key=lambda pair: pair[1])


@contextmanager
def deployed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with an empty home and an empty Redis; made anew for each example."""
    with Redis.from_url(server.url) as client:
        client.flushall()
    deployment = Deployment(Home(tmp_path_factory.mktemp("home")), server.url)
    yield deployment
    deployment.close()
