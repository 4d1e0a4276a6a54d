"""From a stream partition into features and archive: the single writer of its customers and candidates.

Order of writes, so that a crash between any two neither loses nor doubles an update: candidates of the partition with
`applied` (one transaction), customers (each row carries its own `applied`), the cursor. After a crash the batch is read
again and every row skips what it already holds.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from features import archive, dead_letters, generations, ledger, stream
from features.batch import UNFELT, Batch
from features.events.occurrences import read_exposure
from features.events.schema import Joined, Skimmed, encode, skim
from features.fencing import LeaseLostError as LeaseLostError
from features.partials import StoredRow as StoredRow
from features.partials import candidates_key as candidates_key
from features.partials import changed_key as changed_key
from features.partials import load_candidates as load_candidates
from features.partials import load_row as load_row
from features.partials import parse_field as parse_field
from features.partials import row_field as row_field
from features.partials import store_row as store_row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis import Redis

    from features.aggregates.rows import Row
    from features.home import Home
    from features.store import OnlineStore

log = logging.getLogger(__name__)

CACHED_CUSTOMERS = 20_000
BATCH = 2000
SECOND = 1_000_000
DEAD_LETTERS = dead_letters.STREAM


class Partition:
    """One owned partition: where it stands, its candidate states, and what waits for the archive."""

    def __init__(self, number: int, redis: Redis, home: Home) -> None:
        self.number = number
        cursor, applied = redis.get(stream.cursor_key(number)), redis.hget(candidates_key(number), "applied")
        self.cursor = int(cursor or 0)  # type: ignore[arg-type]  # redis-py types a sync answer as awaitable too
        self.applied = int(applied or 0)  # type: ignore[arg-type]  # as above
        marked: bytes | None = redis.get(stream.archived_key(number))  # type: ignore[assignment]  # as above
        # Entries that were handed on stand in no file of this partition.
        self.archived = max(archive.archived_until(home.archive, number), int(marked or 0))
        self.candidates = load_candidates(redis, number)
        self.position = min(self.cursor, self.archived)
        """Where to read on from: after a crash, behind what either features or archive lack."""
        self.handed = 0
        """Arrival of the last event, of those seen here, that led to one for another id."""
        self.waiting: list[archive.Entry] = []
        self.waiting_since = 0.0


class Processor:
    """Applies stream entries of owned partitions. `check` raises LeaseLostError when the partition is no longer ours.

    After any exception the partition has to be opened anew: its states in memory may be ahead of what is written.
    """

    def __init__(self, home: Home, redis: Redis, store: OnlineStore, partitions: int) -> None:
        self._home, self._redis, self._store, self._partitions = home, redis, store, partitions
        store.follow()
        self._customers: OrderedDict[str, Row] = OrderedDict()
        self.processed = 0
        self.untracked = 0
        """Events that were counted and not kept, as their customers do not allow it."""
        self.tracked = redis.get(stream.TRACKED) != b"0"
        """Whether customers who said nothing may be tracked."""

    def forget(self) -> None:
        """Drop cached rows: somebody else may write them now."""
        self._customers.clear()

    def process(self, partition: Partition, entries: Sequence[tuple[int, bytes]], check: Callable[[], None]) -> None:
        """Apply entries (arrival, bytes) in order, to features and to what waits for the archive; `mark` is next."""
        read = [(arrival, self._decode(partition, arrival, payload)) for arrival, payload in entries]
        events = [(arrival, event) for arrival, event in read if event is not None]
        rows = self._rows({event.customer for _, event in events if event.customer and not isinstance(event, UNFELT)})
        batch = Batch(tracked=self.tracked)
        try:
            for arrival, event in events:
                row = rows.get(event.customer)
                if row is not None and arrival > partition.cursor:
                    batch.apply(partition.candidates, partition.applied, row, arrival, event)
                elif row is not None:
                    batch.pass_over(row, arrival, event)
            partition.handed = max(partition.handed, batch.handed)
            check()
            self._store.write_identities(batch.identities.values())
            check()
            self._hand_on(batch, entries[-1][0] / SECOND)
            check()
            self._write_candidates(partition, batch.changed, entries[-1][0])
            check()
            self._store.write("customer", [row for row in batch.touched.values() if row.text not in batch.erased])
            self._forget(batch)
            self._settle([one for one in events if one[0] > partition.cursor], batch)
        except BaseException:
            self.forget()  # what is in memory may be ahead of what is written
            raise
        partition.position = entries[-1][0]
        partition.cursor = max(partition.cursor, partition.position)
        self._wait_for_archive(partition, events, entries, batch.elsewhere)
        self.processed += len(entries)
        self.untracked += batch.untracked

    def _settle(self, events: list[tuple[int, Skimmed]], batch: Batch) -> None:
        """Tell the ledger who saw what they were answered, and who was joined; after a crash once more."""
        joins = [(event.previous, event.customer) for _, event in events if isinstance(event, Joined)]
        here = (event for arrival, event in events if arrival not in batch.elsewhere)
        exposures = [exposure for event in here if (exposure := read_exposure(event)) is not None]
        if joins or exposures:
            ledger.settle(self._redis, exposures, joins)

    def mark(self, partitions: Sequence[Partition], check: Callable[[], None]) -> None:
        """Tell how far the features of these partitions are."""
        if partitions:
            check()
            handed = {stream.handed_key(one.number): one.handed for one in partitions if one.handed}
            self._redis.mset(handed | {stream.cursor_key(one.number): one.cursor for one in partitions})

    def _forget(self, batch: Batch) -> None:
        if batch.erased_at:
            generations.note_erased(self._redis, batch.erased_at)
        self._store.forget(batch.erased)

    def _decode(self, partition: Partition, arrival: int, payload: bytes) -> Skimmed | None:
        try:
            return skim(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if arrival > partition.cursor:  # else it went there before
                log.warning("an entry that cannot be read goes to the dead letters: %s", error)
                dead_letters.keep(self._redis, [dead_letters.write(arrival, "stream", str(error), payload)])
            return None

    def _rows(self, customers: set[str]) -> dict[str, Row]:
        missing = sorted(text for text in customers if text not in self._customers)
        if missing:
            self._customers |= self._store.load_customers(missing)
        rows = {}
        for text in customers:
            self._customers.move_to_end(text)
            rows[text] = self._customers[text]
        while len(self._customers) > max(CACHED_CUSTOMERS, len(rows)):
            self._customers.popitem(last=False)
        return rows

    def _hand_on(self, batch: Batch, now: float) -> None:
        """Append what goes to other ids, each to its own partition: sent again after a crash, it is a duplicate."""
        by_partition: dict[int, list[stream.Message]] = {}
        for event in batch.sent:
            number = stream.partition_of(event.customer, self._partitions)
            # By its own id it counts as seen there; in a stream that it has passed through it would be a duplicate.
            passed = {stream.partition_of(hop, self._partitions) for hop, _ in event.via}
            name = f"{event.message_id}>{len(event.via)}" if number in passed else event.message_id
            by_partition.setdefault(number, []).append(stream.Message(name, encode(event), event.customer))
        for number, messages in by_partition.items():
            stream.append(self._redis, number, messages, now)

    def _write_candidates(self, partition: Partition, changed: dict[tuple[str, int], int], last: int) -> None:
        if not changed:
            return  # what is passed over again after a crash changes nothing then either
        number = partition.number
        with self._redis.pipeline(transaction=True) as pipe:
            rows = {row_field(view, key): store_row(getattr(partition.candidates, view)[key]) for view, key in changed}
            pipe.hset(candidates_key(number), mapping=rows)
            pipe.zadd(changed_key(number), {row_field(*key): arrival for key, arrival in changed.items()})
            pipe.hset(candidates_key(number), "applied", str(last))
            pipe.execute()
        partition.applied = last

    def _wait_for_archive(
        self,
        partition: Partition,
        events: list[tuple[int, Skimmed]],
        entries: Sequence[tuple[int, bytes]],
        elsewhere: set[int],
    ) -> None:
        payloads = dict(entries)
        fresh = [
            archive.Entry(at, event, payloads[at])
            for at, event in events
            if at > partition.archived and at not in elsewhere
        ]
        if fresh and not partition.waiting:
            partition.waiting_since = time.monotonic()
        partition.waiting += fresh

    def flush(self, partition: Partition) -> None:
        """Archive what waits, and trim the stream behind features, archive and a replay that reads it too."""
        if partition.waiting:
            table = archive.tabulate(partition.number, partition.waiting)
            archive.write(self._home.archive, str(partition.number), table)
            partition.waiting.clear()
        # Not the cursor: after a crash it may be ahead of what has been read again for the archive.
        partition.archived = max(partition.archived, partition.position)
        # A replay that begins after this question finds in the archive's files what is trimmed here.
        replayed = bool(self._redis.exists(generations.REBUILD))
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(stream.archived_key(partition.number), partition.archived)
            if not replayed:
                pipe.xtrim(stream.events_key(partition.number), minid=f"{partition.archived + 1}-0", approximate=True)
            pipe.execute()
