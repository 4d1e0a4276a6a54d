"""Dead letters: events that were not taken, with the reason, in one bounded Redis stream until they are sent again.

Intake puts there what it rejects, the worker what it cannot read. Payloads above LONGEST_KEPT are cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis

STREAM = "kairos:dead"
MOST = 10_000
LONGEST_KEPT = 32 * 1024
"""Bytes of an event that intake would take: a longer one could not be sent again anyway."""
CUT_TO = 1024
CHUNK = 500


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was not taken."""

    received: int
    """Microseconds: when it came, by which the client's clock is corrected also later."""
    source: Literal["intake", "stream"]
    """Whose words the payload is in: a client's message, or an event as it stands in the streams."""
    reason: str
    """The same for all events of which the same is wrong."""
    field: str = ""
    payload: bytes
    """As it came, without the write key."""
    length: int
    """Bytes of the payload before it was cut."""

    @property
    def is_whole(self) -> bool:
        return self.length == len(self.payload)


def write(received: int, source: Literal["intake", "stream"], reason: str, payload: bytes, field: str = "") -> Letter:
    kept = payload if len(payload) <= LONGEST_KEPT else payload[:CUT_TO]
    return Letter(received=received, source=source, reason=reason, field=field, payload=kept, length=len(payload))


def append_command(letter: Letter, most: int = MOST) -> tuple[Any, ...]:
    """The Redis command that keeps a letter, and drops the oldest beyond `most`."""
    fields = (part for field in _fields(letter).items() for part in field)
    return ("XADD", STREAM, "MAXLEN", "=", most, "*", *fields)


def keep(redis: Redis, letters: Sequence[Letter], most: int = MOST) -> None:
    """Keep letters, and wait for it. Raises redis.RedisError."""
    with redis.pipeline(transaction=False) as pipe:
        for letter in letters:
            pipe.xadd(STREAM, _fields(letter), maxlen=most, approximate=False)
        pipe.execute()


def scan(redis: Redis, newest_first: bool = False) -> Iterator[tuple[str, Letter]]:
    """(id, letter) of all that were there when it began."""
    newest: Any = redis.xrevrange(STREAM, count=1)
    first, last = "-", newest[0][0].decode() if newest else "+"
    while True:
        found: Any = (
            redis.xrevrange(STREAM, last, first, CHUNK) if newest_first else redis.xrange(STREAM, first, last, CHUNK)
        )
        yield from ((entry.decode(), _read(fields)) for entry, fields in found)
        if len(found) < CHUNK:
            return
        after = f"({found[-1][0].decode()}"
        first, last = (first, after) if newest_first else (after, last)


def remove(redis: Redis, entries: Sequence[str]) -> None:
    if entries:
        redis.xdel(STREAM, *entries)


def replace(redis: Redis, entry: str, letter: Letter, most: int = MOST) -> None:
    """Put a letter in the place of an earlier one, at once: it is never there twice, and never gone."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.xadd(STREAM, _fields(letter), maxlen=most, approximate=False)
        pipe.xdel(STREAM, entry)
        pipe.execute()


def _fields(letter: Letter) -> dict[Any, Any]:
    return msgspec.structs.asdict(letter)


def _read(fields: dict[bytes, bytes]) -> Letter:
    texts = {name.decode(): value.decode(errors="replace") for name, value in fields.items() if name != b"payload"}
    payload = fields.get(b"payload", b"")
    return Letter(
        received=int(texts.get("received", 0)),
        source="intake" if texts.get("source") == "intake" else "stream",
        reason=texts.get("reason", ""),
        field=texts.get("field", ""),
        payload=payload,
        length=int(texts.get("length", len(payload))),
    )
