"""One logged decision by its id: in the streams while it is not archived yet, else in the archive."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from features import archive, stream
from features.events.schema import Decision, decode

if TYPE_CHECKING:
    from redis import Redis

    from features.archive import Location

PAGE = 500
"""Entries of a stream read at once."""
HOUR = 3_600_000_000
BEFORE, AFTER = HOUR // 60, HOUR
"""Microseconds around the time in an id within which it arrives, but for a wrong clock or an outage of Redis."""


def find(redis: Redis, partitions: int, location: Location, decision_id: str) -> Decision | None:
    """The decision, or None. Raises redis.RedisError; then `find_archived` may still know."""
    for number in range(partitions):
        found = _find_streamed(redis, number, decision_id)
        if found is not None:
            return found
    return find_archived(location, decision_id)  # also what was archived and trimmed meanwhile


def find_archived(location: Location, decision_id: str) -> Decision | None:
    """The decision if the archive has it."""
    at = _time_of(decision_id)
    if at:
        found = _find_between(location, decision_id, at - BEFORE, at + AFTER)
        if found is not None:
            return found
    return _find_between(location, decision_id, None, None)


def _find_streamed(redis: Redis, partition: int, decision_id: str) -> Decision | None:
    """The newest entries first. What stands in a stream is hardly more than what is not archived yet."""
    mark = msgspec.json.encode(_message_id(decision_id))
    key, last = stream.events_key(partition), "+"
    while page := _page(redis, key, last):
        for _, fields in page:
            payload = fields[stream.FIELD]
            if mark in payload and isinstance(event := decode(payload), Decision) and event.decision_id == decision_id:
                return event
        last = f"({page[-1][0].decode()}"
    return None


def _page(redis: Redis, key: str, last: str) -> list[Any]:
    found: Any = redis.xrevrange(key, max=last, count=PAGE)
    return list(found)


def _find_between(location: Location, decision_id: str, since: int | None, until: int | None) -> Decision | None:
    """First by the ids alone: payloads are most of the archive's bytes."""
    ids = archive.read(location, ["arrival", "message_id"], types=["decision"], since=since, until=until)
    hits = ids.filter(pc.equal(ids["message_id"], pa.scalar(_message_id(decision_id))))["arrival"].to_pylist()
    for arrival in hits:
        table = archive.read(location, ["payload"], types=["decision"], since=arrival, until=arrival)
        for payload in table["payload"].to_pylist():
            event = decode(payload)
            if isinstance(event, Decision) and event.decision_id == decision_id:
                return event
    return None


def _message_id(decision_id: str) -> str:
    return f"decision:{decision_id}"


def _time_of(decision_id: str) -> int:
    """Microseconds of an id that Kairos made (a UUIDv7: RFC 9562, 5.7); 0 of any other."""
    try:
        known = uuid.UUID(decision_id)
    except ValueError:
        return 0
    return (known.int >> 80) * 1000 if known.version == 7 else 0
