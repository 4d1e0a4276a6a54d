"""From a Segment message to the stored event: identity, time, and what the catalog knows of its candidates. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from features.events.occurrences import LONGEST_ID, identifier
from features.events.schema import Alias, Group, Identify, Page, Screen, Track, encode
from features.reserved import CANARY
from service.nesting import is_deeper

if TYPE_CHECKING:
    from service.catalog.compiled import Compiled

Event = Track | Identify | Page | Screen | Group | Alias
MOST_BYTES = 32 * 1024
"""Of one event, as Segment has it."""
DEEPEST = 64
"""Levels of objects and lists in an event."""
LONGEST_FOUND = 60
LONGEST_DATE = len("2026-11-23")
"""A date alone is no time."""


class RejectedError(ValueError):
    """An event that is not taken; `field` is empty where the whole of it is wrong."""

    def __init__(self, field: str, reason: str, found: str = "") -> None:
        """`reason` is the same for all events of which the same is wrong; `found` is what this one has instead."""
        self.field = field
        self.reason = reason
        self.detail = f"{reason}, not {found[:LONGEST_FOUND]}" if found else reason
        super().__init__(f"{field}: {self.detail}" if field else self.detail)


def resolve(customer_id: str | None, anonymous_id: str | None) -> str:
    """The customer's key: the known id, else the anonymous one, else empty."""
    return customer_id or anonymous_id or ""


def admit(message: Any, received: int, new_id: str, compiled: Compiled | None = None) -> tuple[Event, bytes]:
    """The stored event of a message and its bytes, as `normalise`; of any message. Raises RejectedError."""
    if not isinstance(message, dict):
        raise RejectedError("", "an object is expected")
    event = normalise(message, received, new_id, compiled)
    payload = encode(event)
    if payload.count(b"{") + payload.count(b"[") > DEEPEST and is_deeper(message, DEEPEST):
        raise RejectedError("", f"objects and lists may stand in each other {DEEPEST} deep")
    if len(payload) > MOST_BYTES:  # what we have added does not count, but has a limit too
        length = len(msgspec.json.encode(message))
        if length > MOST_BYTES or len(payload) > 2 * MOST_BYTES:
            raise RejectedError("", f"an event has at most {MOST_BYTES} bytes", str(max(length, len(payload))))
    return event, payload


def normalise(message: dict[str, Any], received: int, new_id: str, compiled: Compiled | None = None) -> Event:
    """The stored event of a message received at `received` (microseconds). Raises RejectedError.

    `new_id` is its message id if it brings none.
    """
    kind = message.get("type")
    user_id = _id(message, "userId")
    anonymous_id = _id(message, "anonymousId")
    if user_id is None and anonymous_id is None:
        raise RejectedError("userId", "one of userId and anonymousId is required")
    if CANARY in (user_id, anonymous_id):
        raise RejectedError("userId", f"{CANARY} is nobody's: Kairos measures with it")
    shared: dict[str, Any] = {
        "message_id": _id(message, "messageId") or new_id,
        "customer": resolve(user_id, anonymous_id),
        "user_id": user_id,
        "anonymous_id": anonymous_id,
        "received": received,
        "time": _time(message, received),
        "context": _mapping(message, "context"),
    }
    properties = _mapping(message, "properties")
    if kind == "track":
        name = message.get("event")
        if not isinstance(name, str) or not name or len(name) > LONGEST_ID:
            raise RejectedError("event", f"a name of 1 to {LONGEST_ID} characters is required")
        decision = properties.get("decision_id")
        shared["decision_id"] = decision if isinstance(decision, str) and len(decision) <= LONGEST_ID else None
        return Track(event=name, properties=_enrich(name, properties, compiled), **shared)
    if kind in ("page", "screen"):
        name = message.get("name")
        return (Page if kind == "page" else Screen)(
            name=name if isinstance(name, str) else None, properties=properties, **shared
        )
    if kind == "identify":
        # An event that joins two ids goes to the one that is given up: there is what has to move.
        given_up = {"customer": anonymous_id} if user_id and anonymous_id else {}
        return Identify(traits=_mapping(message, "traits"), **shared | given_up)
    if kind == "group":
        group = _id(message, "groupId")
        if group is None:
            raise RejectedError("groupId", "a group event needs it")
        return Group(group_id=group, traits=_mapping(message, "traits"), **shared)
    if kind == "alias":
        previous = _id(message, "previousId")
        if previous is None:
            raise RejectedError("previousId", "an alias event needs it")
        return Alias(previous_id=previous, **shared | {"customer": previous, "user_id": user_id or anonymous_id})
    raise RejectedError("type", "one of track, identify, page, screen, group, alias is expected", repr(kind))


def _id(message: dict[str, Any], name: str) -> str | None:
    value = message.get(name)
    if value is None or value == "":
        return None
    text = identifier(value)
    if not text:
        raise RejectedError(name, f"a text of at most {LONGEST_ID} characters is expected")
    return text


def _mapping(message: dict[str, Any], name: str) -> dict[str, Any]:
    value = message.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RejectedError(name, "an object is expected")
    return value


def _time(message: dict[str, Any], received: int) -> int:
    """Event time: received - (sent - original), so that the client's clock drops out; never after `received`."""
    original = _instant(message, "originalTimestamp")
    if original is None:
        original = _instant(message, "timestamp")
    if original is None:
        return received
    sent = _instant(message, "sentAt")
    moment = original if sent is None else received - (sent - original)
    return max(min(moment, received), 0)


def _instant(message: dict[str, Any], name: str) -> int | None:
    """Microseconds of an ISO 8601 text, or of seconds or milliseconds since the epoch."""
    value = message.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value * (1e3 if value > 1e11 else 1e6))
        moment = _moment(value)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise RejectedError(name, "a time in ISO 8601 is expected", repr(value)) from error


def _moment(value: Any) -> datetime:
    try:
        return msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        if not isinstance(value, str) or not LONGEST_DATE < len(value) < LONGEST_FOUND:
            raise
        return datetime.fromisoformat(value)  # slower, and also of forms like 20261123T080000+0000


def _enrich(name: str, properties: dict[str, Any], compiled: Compiled | None) -> dict[str, Any]:
    """Add the catalog's category and price where the page did not send them, so that affinities learn from clicks."""
    if compiled is None:
        return properties
    products = properties.get("products")
    if isinstance(products, list):
        return properties | {"products": [_enrich(name, p, compiled) if isinstance(p, dict) else p for p in products]}
    key = "promotion_id" if name.startswith("Promotion") else "product_id"
    at = compiled.place.get(identifier(properties.get(key)))
    if at is None:
        return properties
    candidate = compiled.candidates[at]
    known = {"category": candidate.category, "price": candidate.price}
    return {field: value for field, value in known.items() if value} | properties
