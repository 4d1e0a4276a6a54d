"""What the dialects remember of a decision for a day: their later calls bring its id and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from features import stream
from features.ids import fingerprint
from features.stream import Message
from service import metrics
from service.events.normalise import admit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from litestar.datastructures import State
    from redis import Redis

    from service.decisions.store import DecisionStore

PREFIX = "kairos:{dialects}:"
SCANNED = 1000
KEPT_SECONDS = 86_400
SECONDS = 2.0
ATTRIBUTES = ("category", "price")
"""Of a candidate that the catalog does not know, what events about it bring."""


class Remembered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decision."""

    placement: str
    shown: str = ""
    """The first item."""
    customer_id: str | None = None
    anonymous_id: str | None = None
    attributes: dict[str, dict[str, Any]] = {}
    """ATTRIBUTES of the candidates that the catalog does not know."""


async def remember(store: DecisionStore, decision_id: str, remembered: Remembered) -> None:
    """Raises UnreachableError."""
    body = msgspec.json.encode(remembered)
    await store.ask([("SET", _key(decision_id), body, "EX", KEPT_SECONDS)], SECONDS)


async def recall(store: DecisionStore, decision_ids: Iterable[str]) -> dict[str, Remembered]:
    """Those of the decisions that are remembered. Raises UnreachableError."""
    asked = list(dict.fromkeys(decision_ids))
    if not asked:
        return {}
    [bodies] = await store.ask([("MGET", *map(_key, asked))], SECONDS)
    return {
        decision_id: msgspec.json.decode(body, type=Remembered)
        for decision_id, body in zip(asked, bodies, strict=True)
        if body is not None
    }


async def take(state: State, messages: Sequence[dict[str, Any]], received: int) -> None:
    """Append events in Segment's words, or none of them. Raises RejectedError, UnreachableError."""
    parts: dict[int, list[Message]] = {}
    for at, message in enumerate(messages):
        event, payload = admit(message, received, f"dialect:{received}:{at}", state.live.frame.compiled)
        place = stream.partition_of(event.customer, state.settings.partitions)
        parts.setdefault(place, []).append(Message(event.message_id, payload, event.customer))
    for place, part in parts.items():
        arrivals = await state.store.append(place, part, SECONDS)
        metrics.EVENTS.labels("accepted").inc(sum(map(bool, arrivals)))
        metrics.EVENTS.labels("duplicate").inc(sum(not arrival for arrival in arrivals))


def forget(redis: Redis, customers: Iterable[str]) -> int:
    """Delete what is remembered of customers -> of how many decisions. Raises redis.RedisError."""
    gone = set(customers)
    found: list[Any] = []
    keys: list[bytes] = []

    def look() -> None:
        bodies: Any = redis.mget(keys) if keys else []
        for key, body in zip(keys, bodies, strict=True):
            one = None if body is None else msgspec.json.decode(body, type=Remembered)
            if one is not None and not gone.isdisjoint((one.customer_id, one.anonymous_id)):
                found.append(key)
        keys.clear()

    for key in redis.scan_iter(match=f"{PREFIX}*", count=SCANNED):
        keys.append(key)
        if len(keys) >= SCANNED:
            look()
    look()
    if found:
        redis.unlink(*found)
    return len(found)


def message_id(dialect: str, decision_id: str, *parts: str) -> str:
    """The same for the same call, so that a repeated one counts once."""
    what = "\x1f".join((decision_id, *parts))
    return f"{dialect}:{fingerprint(what) % 2**64:x}"


def _key(decision_id: str) -> str:
    return f"{PREFIX}{fingerprint(decision_id) % 2**64:x}:{len(decision_id)}"
