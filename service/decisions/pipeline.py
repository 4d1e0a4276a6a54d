"""A page view, step by step: check, gather under a deadline, choose, commit, answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from features import stream
from features.consent import PERSONALISATION, TRACKING, allows
from features.events.occurrences import read
from features.events.schema import encode
from service import metrics
from service.decisions.choose import choose
from service.decisions.explain import explain
from service.decisions.identity import belonging, identify
from service.decisions.question import Question
from service.decisions.record import answer, record
from service.decisions.request import InvalidError, check
from service.decisions.store import StoredAnswer, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from features.consent import Consent
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
    customer: str
    """Whom the request's ids belong to."""
    state: Packed | None
    events: list[Event]
    """The inline ones that are not in the state already."""
    readable: bool
    consent: Consent = {}
    """Of a customer who cannot be read, the catalog's default holds."""


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
    gathered = await _gather(store, request, settings.partitions, began)
    question = _pose(request, gathered, frame, live.models, now)
    chosen = choose(question)
    reply = answer(question, chosen, (time.perf_counter() - began) * 1e3)
    due = began + request.seconds
    if asked.explain:
        explaining = time.perf_counter()
        reply = await explain(question, chosen, reply, settings.explain_deadline_ms / 1e3)
        due += time.perf_counter() - explaining  # it has a deadline of its own
    left = max(due - time.perf_counter(), LEAST_APPEND_SECONDS) if gathered.readable else 0.0
    decision = record(question, chosen, reply, request.asked, gathered.customer, gathered.events)
    body = msgspec.json.encode(reply)
    if allows(gathered.consent, TRACKING, frame.compiled.document.consent.tracking):
        body = await _commit(store, request, decision, settings.partitions, body, left)
    else:
        metrics.EVENTS.labels("untracked").inc(1 + len(decision.events))
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


async def _gather(store: DecisionStore, request: Request, partitions: int, began: float) -> _Gathered:
    """The customer's row, waiting for what must be in it, within the read's share of the deadline."""

    def left(share: float) -> float:
        return request.seconds * share - (time.perf_counter() - began)

    def for_reading() -> float:
        return max(left(READ_SHARE), request.seconds * LEAST_SHARE)

    events, tokens = request.events, request.tokens
    try:
        found = await identify(store, request.ids, for_reading())
        if request.may_be_resent:
            place = stream.partition_of(found.customer, partitions)
            seen, last = await store.find_seen(place, [event.message_id for event in events], left(READ_SHARE))
            if seen:  # these are in the state as soon as the last event is
                events = [event for event in events if event.message_id not in seen]
                tokens = [*tokens, (place, last)]
        if tokens:
            handed_on = await store.wait_for(tokens, left(WAIT_SHARE))
            found = await identify(store, request.ids, for_reading())
            for owner in found.chain if handed_on else []:  # what came to these must be in, too
                newest = await store.last_arrival(stream.partition_of(owner, partitions), for_reading())
                await store.wait_for([newest], left(WAIT_SHARE))
                found = await identify(store, request.ids, for_reading())
        events = [belonging(event, found) for event in events]
        return _Gathered(found.customer, found.row, events, readable=True, consent=found.consent)
    except UnreachableError:
        return _Gathered(request.customer, None, events, readable=False)


def _pose(request: Request, gathered: _Gathered, frame: Frame, models: Mapping[str, Bundle], now: int) -> Question:
    asked = request.asked
    default = frame.compiled.document.consent.personalisation
    personalised = allows(gathered.consent, PERSONALISATION, default)
    return Question(
        decision_id=request.decision_id,
        now=now,
        placements=asked.placements,
        context=asked.context,
        flags=asked.flags,
        state=gathered.state if personalised else None,
        occurrences=[seen for event in gathered.events if personalised and (seen := read(event)) is not None],
        personalised=personalised,
        frame=frame,
        models=models,
        rung="model" if gathered.readable else "prior",
    )


async def _commit(
    store: DecisionStore, request: Request, decision: Decision, partitions: int, body: bytes, seconds: float
) -> bytes:
    """Append the decision and its inline events; spill them if Redis does not take them. The body to answer."""
    messages: dict[int, list[stream.Message]] = {}
    for event in (decision, *decision.events):
        place = stream.partition_of(event.customer, partitions)
        messages.setdefault(place, []).append(stream.Message(event.message_id, encode(event)))
    home, *others = messages  # the decision's own partition comes first
    try:
        for place in others:  # events that join ids go to the id that is given up
            await store.append_decision(place, messages[place], seconds)
        if request.asked.decision_id is None:
            await store.append_decision(home, messages[home], seconds, ours=not request.may_be_resent)
            return body
        mine = StoredAnswer(request.fingerprint, body)
        asked = (request.partition, request.decision_id)
        kept = await store.append_once(home, messages[home], asked, mine, seconds)
        return _same(kept, request)
    except UnreachableError:
        for message in (message for part in messages.values() for message in part):
            store.spill.keep(message.payload)
    return body
