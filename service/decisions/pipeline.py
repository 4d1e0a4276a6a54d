"""A page view, step by step: check, gather under a deadline, choose, commit, answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from features import stream
from features.events.occurrences import read
from features.events.schema import encode
from service import metrics
from service.decisions.choose import choose
from service.decisions.explain import explain
from service.decisions.question import Question
from service.decisions.record import answer, record
from service.decisions.request import InvalidError, check
from service.decisions.store import StoredAnswer, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from features.events.schema import Decision
    from features.settings import Settings
    from features.store import Packed
    from models.bundle import Bundle
    from service.decisions.frame import Frame
    from service.decisions.request import Request
    from service.decisions.schema import DecisionRequest
    from service.decisions.store import DecisionStore
    from service.events.normalise import Event
    from service.live import Live

WAIT_SHARE = 0.55
"""Of the deadline, for `after`."""
READ_SHARE = 0.6
"""Of the deadline, until what is read must be there; the rest is for scoring and the log."""
LEAST_SHARE = 0.1
"""Of the deadline, for reading the customer even after a long wait."""
LEAST_APPEND_SECONDS = 0.003


class _Gathered(msgspec.Struct, frozen=True):
    state: Packed | None
    events: list[Event]
    """The inline ones that are not in the state already."""
    readable: bool


async def decide(live: Live, store: DecisionStore, settings: Settings, asked: DecisionRequest) -> bytes:
    """The answer's JSON. Raises InvalidError."""
    began = time.perf_counter()
    now = time.time_ns() // 1000
    frame = live.frame  # once: it may be swapped while this request waits
    request = check(asked, frame.compiled, settings, now)
    if asked.decision_id is not None:
        earlier = await _earlier(store, request, asked.decision_id)
        if earlier is not None:
            return earlier
    gathered = await _gather(store, request, began)
    question = _pose(request, gathered, frame, live.models, now)
    chosen = choose(question)
    reply = answer(question, chosen, (time.perf_counter() - began) * 1e3)
    due = began + request.seconds
    if asked.explain:
        explaining = time.perf_counter()
        reply = await explain(question, chosen, reply, settings.explain_deadline_ms / 1e3)
        due += time.perf_counter() - explaining  # it has a deadline of its own
    left = max(due - time.perf_counter(), LEAST_APPEND_SECONDS) if gathered.readable else 0.0
    decision = record(question, chosen, request, gathered.events)
    body = await _commit(store, request, decision, msgspec.json.encode(reply), left)
    metrics.DECISIONS.labels(chosen.rung).inc()
    metrics.DECISION_SECONDS.observe(time.perf_counter() - began)
    return body


async def _earlier(store: DecisionStore, request: Request, decision_id: str) -> bytes | None:
    """The stored answer to the same id and body."""
    try:
        stored = await store.read_answer(request.partition, decision_id, request.seconds * READ_SHARE)
    except UnreachableError:
        return None
    return None if stored is None else _same(stored, request)


def _same(stored: StoredAnswer, request: Request) -> bytes:
    """The body of a stored answer. InvalidError (409) if it answered another request."""
    if stored.asked != request.fingerprint:
        raise InvalidError("decision_id", "this decision_id was used with another body within 15 minutes", 409)
    return stored.body


async def _gather(store: DecisionStore, request: Request, began: float) -> _Gathered:
    """The customer's row, waiting for what must be in it, within the read's share of the deadline."""

    def left(share: float) -> float:
        return request.seconds * share - (time.perf_counter() - began)

    events, tokens = request.events, request.tokens
    try:
        if request.may_be_resent:
            ids = [event.message_id for event in events]
            seen, last = await store.find_seen(request.partition, ids, left(READ_SHARE))
            if seen:  # these are in the state as soon as the last event is
                events = [event for event in events if event.message_id not in seen]
                tokens = [*tokens, (request.partition, last)]
        if tokens:
            await store.wait_for(tokens, left(WAIT_SHARE))
        seconds = max(left(READ_SHARE), request.seconds * LEAST_SHARE)
        return _Gathered(await store.read_customer(request.customer, seconds), events, readable=True)
    except UnreachableError:
        return _Gathered(None, events, readable=False)


def _pose(request: Request, gathered: _Gathered, frame: Frame, models: Mapping[str, Bundle], now: int) -> Question:
    asked = request.asked
    return Question(
        decision_id=request.decision_id,
        now=now,
        placements=asked.placements,
        context=asked.context,
        flags=asked.flags,
        state=gathered.state,
        occurrences=[seen for event in gathered.events if (seen := read(event)) is not None],
        frame=frame,
        models=models,
        rung="model" if gathered.readable else "prior",
    )


async def _commit(store: DecisionStore, request: Request, decision: Decision, body: bytes, seconds: float) -> bytes:
    """Append the decision and its inline events; spill them if Redis does not take them. The body to answer."""
    messages = [stream.Message(event.message_id, encode(event)) for event in (decision, *decision.events)]
    try:
        if request.asked.decision_id is None:
            await store.append_decision(request.partition, messages, seconds, ours=not request.may_be_resent)
            return body
        mine = StoredAnswer(request.fingerprint, body)
        kept = await store.append_once(request.partition, messages, request.decision_id, mine, seconds)
        return _same(kept, request)
    except UnreachableError:
        for message in messages:
            store.spill.keep(message.payload)
    return body
