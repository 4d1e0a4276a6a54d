"""A page view, step by step: gather under a deadline, choose, commit, answer."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import msgspec

from features import stream
from features.events.occurrences import read
from features.events.schema import encode
from features.ids import digest
from service import metrics
from service.decisions.choose import Question, choose
from service.decisions.explain import explain
from service.decisions.record import Inline, answer, record
from service.decisions.store import StoredAnswer, UnreachableError
from service.events.normalise import RejectedError, normalise, resolve

if TYPE_CHECKING:
    from features.settings import Settings
    from features.store import Packed
    from service.decisions.choose import Chosen, Rung
    from service.decisions.schema import DecisionRequest
    from service.decisions.store import DecisionStore
    from service.live import Live

READ_SHARE = 0.6
"""Of the deadline, for reading; the rest is for scoring and the log."""
SCORING_SECONDS = 0.003


class InvalidError(ValueError):
    """A request that cannot be answered; `field` says where."""

    def __init__(self, field: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.field = field
        self.status = status


class _Gathered(msgspec.Struct, frozen=True):
    state: Packed | None
    readable: bool


async def decide(live: Live, store: DecisionStore, settings: Settings, asked: DecisionRequest) -> bytes:
    """The answer's JSON. Raises InvalidError."""
    began = time.perf_counter()
    now = time.time_ns() // 1000
    customer = resolve(asked.customer_id, asked.anonymous_id)
    events = _check(live, asked, customer, now)
    seconds = (asked.deadline_ms or settings.deadline_ms) / 1000.0
    partition = stream.partition_of(customer, settings.partitions)
    if asked.decision_id is not None:
        earlier = await _earlier(store, partition, asked.decision_id, asked, seconds * READ_SHARE)
        if earlier is not None:
            return earlier
    gathered = await _gather(store, customer, asked, began, seconds)
    question = _pose(live, asked, gathered, events, now)
    chosen = choose(question)
    reply = answer(question, chosen, (time.perf_counter() - began) * 1e3)
    if asked.explain:
        reply = await explain(question, chosen, reply, settings.explain_deadline_ms / 1e3)
    body = msgspec.json.encode(reply)
    left = max(seconds - (time.perf_counter() - began), SCORING_SECONDS) if gathered.readable else 0.0
    body = await _commit(store, partition, asked, question, chosen, events, body, left)
    metrics.DECISIONS.labels(chosen.rung).inc()
    metrics.DECISION_SECONDS.observe(time.perf_counter() - began)
    return body


def _check(live: Live, asked: DecisionRequest, customer: str, now: int) -> list[Inline]:
    """The inline events as stored ones; InvalidError for what the shape alone cannot tell."""
    if not customer:
        raise InvalidError("customer_id", "one of customer_id and anonymous_id is required")
    compiled = live.frame.compiled
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
    events: list[Inline] = []
    for at, event in enumerate(asked.events):
        message = {key: value for key, value in msgspec.to_builtins(event).items() if value is not None}
        message |= {"userId": asked.customer_id, "anonymousId": asked.anonymous_id}
        try:
            events.append(normalise(message, now, "", compiled))
        except RejectedError as error:
            raise InvalidError(f"events[{at}]", str(error)) from error
    return events


def _digest(asked: DecisionRequest) -> int:
    return digest(msgspec.json.encode(asked).decode())


async def _earlier(
    store: DecisionStore, partition: int, decision_id: str, asked: DecisionRequest, seconds: float
) -> bytes | None:
    """The stored answer to the same id and body. InvalidError (409) for another body."""
    try:
        stored = await store.read_answer(partition, decision_id, seconds)
    except UnreachableError:
        return None
    if stored is None:
        return None
    if stored.asked != _digest(asked):
        raise InvalidError("decision_id", "this decision_id was used with another body within 15 minutes", 409)
    return stored.body


async def _gather(
    store: DecisionStore, customer: str, asked: DecisionRequest, began: float, seconds: float
) -> _Gathered:
    """The customer's row, waiting for `after`, within the read's share of the deadline."""

    def left() -> float:
        return seconds * READ_SHARE - (time.perf_counter() - began)

    try:
        if asked.after is not None:
            await store.wait_for(parse_tokens(asked.after), left())
        return _Gathered(await store.read_customer(customer, max(left(), 0.001)), readable=True)
    except UnreachableError:
        return _Gathered(None, readable=False)


def parse_tokens(text: str) -> list[tuple[int, int]]:
    """The (partition, arrival) pairs of an answer's token. Raises InvalidError."""
    try:
        return [stream.parse_token(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidError("after", f"{error}: the token of an event's answer is expected") from error


def _pose(live: Live, asked: DecisionRequest, gathered: _Gathered, events: list[Inline], now: int) -> Question:
    rung: Rung = "model" if gathered.readable else "prior"
    return Question(
        decision_id=asked.decision_id or new_id(),
        now=now,
        placements=asked.placements,
        context=asked.context,
        flags=asked.flags,
        state=gathered.state,
        occurrences=[seen for event in events if (seen := read(event)) is not None],
        frame=live.frame,
        models=live.models,
        rung=rung,
    )


async def _commit(
    store: DecisionStore,
    partition: int,
    asked: DecisionRequest,
    question: Question,
    chosen: Chosen,
    events: list[Inline],
    body: bytes,
    seconds: float,
) -> bytes:
    """Append the decision and its inline events; spill the decision if Redis does not take it. The body to answer."""
    identified = [
        msgspec.structs.replace(
            event, message_id=event.message_id or f"{question.decision_id}#{n}", decision_id=question.decision_id
        )
        for n, event in enumerate(events)
    ]
    customer = resolve(asked.customer_id, asked.anonymous_id)
    decision = record(question, chosen, customer, asked.customer_id, asked.anonymous_id, identified)
    messages = [stream.Message(event.message_id, encode(event)) for event in (decision, *identified)]
    kept = None if asked.decision_id is None else (asked.decision_id, StoredAnswer(_digest(asked), body))
    try:
        await store.append(partition, messages, seconds, kept)
    except UnreachableError:
        for message in messages:
            store.spill(message.payload)
    return body


def new_id() -> str:
    """A UUIDv7 (RFC 9562): sorts by time."""
    milliseconds = time.time_ns() // 1_000_000
    random = uuid.uuid4().int & ((1 << 74) - 1)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return str(uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low))
