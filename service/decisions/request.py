"""What a request means: checked against the catalog, events and tokens understood, before anything is read for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from features import stream
from features.ids import fingerprint
from service.events.normalise import RejectedError, normalise, resolve

if TYPE_CHECKING:
    from features.settings import Settings
    from service.catalog.compiled import Compiled
    from service.decisions.schema import DecisionRequest
    from service.events.normalise import Event


class InvalidError(ValueError):
    """A request that cannot be answered; `field` says where."""

    def __init__(self, field: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.field = field
        self.status = status


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request that can be answered."""

    asked: DecisionRequest
    decision_id: str
    customer: str
    partition: int
    events: list[Event]
    """The inline ones, as stored."""
    tokens: list[tuple[int, int]]
    """(partition, arrival) of each event to wait for."""
    seconds: float
    """Until the answer is due."""

    @property
    def ids(self) -> list[str]:
        """The known id, if there is one, and the anonymous one."""
        both = (self.asked.customer_id, self.asked.anonymous_id)
        return list(dict.fromkeys(one for one in both if one))

    @property
    def may_be_resent(self) -> bool:
        """Whether inline events have ids of the sender's, under which they may have come before."""
        named = self.asked.decision_id is not None or any(event.message_id for event in self.asked.events)
        return bool(self.events) and named

    @property
    def fingerprint(self) -> int:
        """Tells one body from another under the same `decision_id`."""
        return fingerprint(msgspec.json.encode(self.asked).decode())


def check(asked: DecisionRequest, compiled: Compiled, settings: Settings, now: int) -> Request:
    """Raises InvalidError for what the shape alone cannot tell."""
    decision_id = asked.decision_id or new_id(now)
    customer = resolve(asked.customer_id, asked.anonymous_id)
    if not customer:
        raise InvalidError("customer_id", "one of customer_id and anonymous_id is required")
    for at, placement in enumerate(asked.placements):
        if placement.id not in compiled.placements:
            raise InvalidError(f"placements[{at}].id", f"there is no placement {placement.id!r} in the catalog", 404)
    if len({placement.id for placement in asked.placements}) < len(asked.placements):
        raise InvalidError("placements", "a placement may stand here once only")
    for name, variant in asked.flags.items():
        if name not in compiled.variants:
            raise InvalidError(f"flags.{name}", f"there is no experiment {name!r} in the catalog")
        if variant not in compiled.variants[name]:
            raise InvalidError(f"flags.{name}", f"experiment {name!r} has no variant {variant!r}")
    return Request(
        asked=asked,
        decision_id=decision_id,
        customer=customer,
        partition=stream.partition_of(customer, settings.partitions),
        events=_events(asked, decision_id, compiled, now) if asked.events else [],
        tokens=[] if asked.after is None else _tokens(asked.after, settings.partitions),
        seconds=(asked.deadline_ms or settings.deadline_ms) / 1000.0,
    )


def _events(asked: DecisionRequest, decision_id: str, compiled: Compiled, now: int) -> list[Event]:
    events: list[Event] = []
    for at, event in enumerate(asked.events):
        message = {key: value for key, value in msgspec.to_builtins(event).items() if value is not None}
        message |= {"userId": asked.customer_id, "anonymousId": asked.anonymous_id}
        try:
            normalised = normalise(message, now, f"{decision_id}#{at}", compiled)
        except RejectedError as error:
            raise InvalidError(f"events[{at}].{error.field}", error.reason) from error
        events.append(msgspec.structs.replace(normalised, decision_id=decision_id))
    return events


def new_id(now: int) -> str:
    """A UUIDv7 (RFC 9562): sorts by time, `now` in microseconds."""
    random = int.from_bytes(os.urandom(10), "big")
    high, low = random >> 68, random & ((1 << 62) - 1)
    text = f"{(now // 1000 << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _tokens(text: str, partitions: int) -> list[tuple[int, int]]:
    try:
        tokens = [stream.parse_token(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidError("after", f"{error}; the token of an event's answer is expected") from error
    if any(partition >= partitions for partition, _ in tokens):
        raise InvalidError("after", "not a token of this service")
    return tokens
