"""Numbered snapshots of all candidates' live features: merged over partitions by one role, followed by every process.

Redis holds the whole (a hash and its head, replaced in one transaction) and a stream of changes; a follower that is
behind the stream reads the whole again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from features import stream
from features.aggregates.rows import LAYOUTS, Row, merge
from features.events.schema import SnapshotTaken, encode
from features.streaming import (
    StoredRow,
    candidates_key,
    changed_key,
    load_row,
    parse_field,
    row_field,
    store_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis

    from features.store import OnlineStore

HEAD = "kairos:{snapshot}:head"
ROWS = "kairos:{snapshot}:rows"
CHANGES = "kairos:{snapshot}:changes"
KEPT_CHANGES = 600
MARKERS = 0
"""The partition that the events SnapshotTaken go to."""
SECOND = 1_000_000
# KEYS: a partition's rows, its changes. ARGV: an arrival. -> `applied`, then (field, row) of all that changed since:
# at once, so that the rows are those of `applied`.
CHANGED_SINCE = """
local answer = {redis.call('HGET', KEYS[1], 'applied') or '0'}
for _, field in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf')) do
  answer[#answer + 1] = field
  answer[#answer + 1] = redis.call('HGET', KEYS[1], field)
end
return answer
"""
_CANDIDATE_VIEWS = ("candidate", "successors")


class Head(msgspec.Struct, frozen=True):
    """Which snapshot `ROWS` holds; `time` in microseconds; `cursors` partition -> last arrival in it."""

    number: int
    time: int
    cursors: dict[str, int] = {}


class Change(msgspec.Struct, frozen=True):
    """The rows by which a snapshot differs from the one before."""

    head: Head
    rows: dict[str, bytes]
    whole: bool = False
    """All rows were swapped, and stand in `ROWS`: none are here."""


class Snapshotter:
    """The role that merges partitions into snapshots. One process holds it at a time (a lease of the caller's)."""

    def __init__(self, redis: Redis, store: OnlineStore, partitions: Iterable[int], afresh: bool = False) -> None:
        """`afresh` takes every row for changed, as after a replay."""
        self._redis, self._store = redis, store
        self._partitions = tuple(partitions)
        self._changes: Any = redis.register_script(CHANGED_SINCE)
        head: Any = redis.get(HEAD)
        self.head = msgspec.msgpack.decode(head, type=Head) if head else Head(0, 0)
        self._seen = {number: 0 if afresh else self.head.cursors.get(str(number), 0) for number in self._partitions}
        self._parts: dict[tuple[str, int], dict[int, Row]] = {}
        for number in self._partitions:
            fields: Any = redis.hgetall(candidates_key(number))
            self._take(number, fields.items())

    def _take(self, number: int, fields: Iterable[tuple[bytes, bytes]]) -> set[tuple[str, int]]:
        taken = set()
        for field, payload in fields:
            if payload is not None and (key := parse_field(field)) is not None:
                self._parts.setdefault(key, {})[number] = load_row(key[0], payload)
                taken.add(key)
        return taken

    def refresh(self, now: int) -> Head | None:
        """Merge what changed since the last snapshot and publish it as of `now` (microseconds); None if nothing did.

        After an exception the snapshotter has to be made anew: what it holds may be ahead of what is published.
        """
        changed: set[tuple[str, int]] = set()
        cursors = {}
        for number in self._partitions:
            keys = [candidates_key(number), changed_key(number)]
            applied, *fields = self._changes(keys=keys, args=[self._seen[number]])
            changed |= self._take(number, zip(fields[::2], fields[1::2], strict=True))
            cursors[str(number)] = self._seen[number] = int(applied or 0)
        if not changed:
            return None
        head = Head(self.head.number + 1, max(now, self.head.time + 1), cursors)
        merged = {key: self._merged(key) for key in changed}
        for view in _CANDIDATE_VIEWS:
            self._store.write(view, [row for (of, _), row in merged.items() if of == view])
        record(self._redis, head)
        self._publish(head, merged)
        self.head = head
        return head

    def _merged(self, key: tuple[str, int]) -> Row:
        parts = self._parts[key]
        rows = [parts[number] for number in sorted(parts)]
        merged = rows[0]
        for row in rows[1:]:
            merged = merge(LAYOUTS[key[0]], merged, row)
        return merged

    def _publish(self, head: Head, merged: dict[tuple[str, int], Row]) -> None:
        rows = {row_field(*key): store_row(row) for key, row in merged.items()}
        change = msgspec.msgpack.encode(Change(head, rows))
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(ROWS, mapping=rows)
            pipe.set(HEAD, msgspec.msgpack.encode(head))
            pipe.xadd(CHANGES, {"c": change}, maxlen=KEPT_CHANGES, approximate=True)
            pipe.execute()


def record(redis: Redis, head: Head) -> None:
    """Put the marker by which history knows a snapshot into a stream: before any decision can log its number."""
    marker = SnapshotTaken(
        message_id=f"snapshot:{head.number}:{head.time}",
        customer="",
        time=head.time,
        received=head.time,
        number=head.number,
        cursors=head.cursors,
    )
    stream.append(redis, MARKERS, [stream.Message(marker.message_id, encode(marker))], head.time / SECOND)


def decode_head(payload: bytes) -> Head:
    return msgspec.msgpack.decode(payload, type=Head)


def decode_change(payload: bytes) -> Change:
    return msgspec.msgpack.decode(payload, type=Change)


def decode_stored(payload: bytes) -> StoredRow:
    return msgspec.msgpack.decode(payload, type=StoredRow)
