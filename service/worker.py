"""The worker process: events of its partitions into features and archive, and candidates into snapshots."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any

from redis import RedisError

from features import ledger, stream
from features.connection import connect
from features.documents import DocumentError
from features.leases import Lease
from features.replay import parse_entry
from features.store import OnlineStore
from features.streaming import BATCH, LeaseLostError, Partition, Processor
from service import checkups, compaction, metrics
from service.catalog import versions
from service.experiments.allocation import role as allocation
from service.files import stamp
from service.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterable

    from features.settings import Settings

log = logging.getLogger(__name__)

BLOCK_MS = 100
PAUSE_SECONDS = 0.02
"""From one read to the next, at least: events then come in company, and most of the work is by the read."""
FLUSH_ENTRIES = 20_000
PATIENCE_SECONDS = 0.5
ROUND_SECONDS = 0.5
HELD_SECONDS = 0.05


class Worker:
    """Owns what partitions it can get, and processes them until told to stop."""

    def __init__(self, settings: Settings, redis_url: str) -> None:
        self._settings = settings
        self._redis = connect(redis_url)
        self._store = OnlineStore(settings.home, redis_url)
        owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        numbers = range(settings.partitions)
        self._leases = {number: Lease(self._redis, stream.lease_key(number), owner) for number in numbers}
        self._publisher = Publisher(settings, self._redis, self._store, owner)
        self._stopping = False
        self._catalog_stamp = ""
        self._reset()

    def _reset(self) -> None:
        """Start from what Redis holds: at the start, and after anything that may have left memory ahead of it."""
        self._owned: dict[int, Partition] = {}
        self._processor = Processor(self._settings.home, self._redis, self._store, self._settings.partitions)
        self._publisher.reset()
        self._flush_seen = b"0-0"  # an old request costs one more flush
        self._next_round = self._next_read = 0.0

    def stop(self, *_: object) -> None:
        self._stopping = True

    def run(self) -> None:
        """Work until stopped; then archive what waits and let go of the partitions."""
        while not self._stopping:
            try:
                self._own()
                self._work()
            except (RedisError, OSError) as error:
                log.warning("tried again in %g s, from what Redis holds: %s", PATIENCE_SECONDS, error)
                self._reset()
                time.sleep(PATIENCE_SECONDS)
            except LeaseLostError as error:
                log.warning("%s was taken over by another worker", error)
                self._reset()
        try:
            self._let_go()
        except (RedisError, OSError, LeaseLostError) as error:
            log.warning("stopped without archiving the last events, they stay in the stream: %s", error)

    def _own(self) -> None:
        """Renew leases, take free ones, or let go of all while a replay wants to write."""
        if time.monotonic() < self._next_round:
            return
        self._next_round = time.monotonic() + ROUND_SECONDS
        self._follow_catalog()
        ledger.release(self._redis, time.time_ns() // 1000)
        if self._redis.exists(stream.REPLAY):
            if self._owned:
                self._let_go()
                self._reset()
            self._next_round = time.monotonic() + HELD_SECONDS  # it holds the workers back for a moment only
            return
        for number, lease in self._leases.items():
            if not lease.keep():
                if number in self._owned:
                    raise LeaseLostError(stream.lease_key(number))
            elif number not in self._owned:
                self._store.follow()  # while a partition is ours, no other generation comes to serve
                self._owned[number] = Partition(number, self._redis, self._settings.home)
                log.info("owns partition %d from %d", number, self._owned[number].position)

    def _follow_catalog(self) -> None:
        """Whether customers may be tracked who said nothing; a broken catalog changes nothing."""
        found = stamp(self._settings.home.catalog)
        if found != self._catalog_stamp:
            with contextlib.suppress(DocumentError):  # the API tells
                self._processor.tracked = versions.read(self._settings.home)[0].consent.tracking
                self._redis.set(stream.TRACKED, int(self._processor.tracked))
            self._catalog_stamp = found

    def _let_go(self) -> None:
        for number, partition in self._owned.items():
            self._leases[number].check()
            self._processor.flush(partition)
            self._leases[number].release()
        self._publisher.release()

    def _work(self) -> None:
        """One read of all partitions, and what is due beside it."""
        if not self._owned:
            time.sleep(0.05)
            return
        positions: dict[Any, Any] = {
            stream.events_key(number): f"{partition.position}-0" for number, partition in self._owned.items()
        }
        positions[stream.FLUSH] = self._flush_seen
        time.sleep(max(self._next_read - time.monotonic(), 0.0))
        self._next_read = time.monotonic() + PAUSE_SECONDS
        found: Any = self._redis.xread(positions, count=BATCH, block=BLOCK_MS)
        numbers = {stream.events_key(number).encode(): number for number in self._owned}
        flush = False
        done = []
        for key, entries in found or []:
            if key == stream.FLUSH.encode():
                self._flush_seen, flush = entries[-1][0], True
                continue
            self._process(numbers[key], [parse_entry(entry) for entry in entries])
            done.append(numbers[key])
        self._processor.mark([self._owned[number] for number in done], lambda: self._check(done))
        self._archive(flush)
        self._publisher.publish()

    def _process(self, number: int, entries: list[tuple[int, bytes]]) -> None:
        lease = self._leases[number]
        lease.check()
        self._processor.process(self._owned[number], entries, lease.check)
        metrics.PROCESSED.inc(len(entries))
        if self._processor.untracked:
            metrics.EVENTS.labels("untracked").inc(self._processor.untracked)
            self._processor.untracked = 0
        now = time.time()
        for arrival, _ in entries:
            metrics.EVENT_AGE.observe(max(now - arrival / 1e6, 0.0))

    def _check(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._leases[number].check()

    def _archive(self, now: bool) -> None:
        for number, partition in self._owned.items():
            behind = time.monotonic() - partition.waiting_since > self._settings.archive_seconds
            if now or len(partition.waiting) >= FLUSH_ENTRIES or (partition.waiting and behind):
                self._leases[number].check()
                self._processor.flush(partition)


def run(settings: Settings, redis_url: str, index: int) -> None:  # noqa: ARG001  # the supervisor's parts share it
    """Work until SIGTERM."""
    worker = Worker(settings, redis_url)
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    with (
        compaction.beside(settings, redis_url),
        allocation.beside(settings, redis_url),
        checkups.beside(settings, redis_url),
    ):
        worker.run()
