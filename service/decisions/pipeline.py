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
from service.decisions.gathering import READ_SHARE, Gathered, gather, unread
from service.decisions.question import Question
from service.decisions.record import answer, record
from service.decisions.request import InvalidError, check
from service.decisions.reserving import scopes_of, secure
from service.decisions.store import StoredAnswer, UnreachableError
from service.experiments.bots import is_bot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from features.events.schema import Decision
    from features.settings import Settings
    from models.bundle import Bundle
    from service.decisions.choose import Chosen
    from service.decisions.frame import Frame
    from service.decisions.request import Request
    from service.decisions.schema import DecisionAnswer, DecisionRequest
    from service.decisions.store import DecisionStore
    from service.live import Live

RESERVE_SHARE = 0.8
"""Of the deadline, until what is shown must be reserved."""
LEAST_APPEND_SECONDS = 0.003


def say(_question: Question, _chosen: Chosen, reply: DecisionAnswer) -> bytes:
    """The answer's JSON."""
    return msgspec.json.encode(reply)


async def decide(
    live: Live,
    store: DecisionStore,
    settings: Settings,
    asked: DecisionRequest,
    frame: Frame | None = None,
    express: Callable[[Question, Chosen, DecisionAnswer], bytes] = say,
) -> bytes:
    """The answer as `express` words it, which a retry gets again. Raises InvalidError.

    `frame` is another than the live one, where the request brings candidates.
    """
    began = time.perf_counter() - store.lag.seconds
    now = time.time_ns() // 1000
    frame = frame or live.frame  # once: it may be swapped while this request waits
    request = check(asked, frame.compiled, settings, now)
    if asked.decision_id is not None:
        earlier = await _earlier(store, request, asked.decision_id)
        if earlier is not None:
            return earlier
    scopes = scopes_of(frame, asked.placements, now)
    if time.perf_counter() - began > request.seconds * READ_SHARE:
        gathered = unread(request)  # it has waited too long: whoever comes behind shall not wait as long
    else:
        tracked = frame.compiled.document.consent.tracking
        gathered = await gather(store, request, scopes, settings.partitions, began, tracked)
    question = _pose(request, gathered, frame, live.models, now, _late(asked, began))
    chosen = choose(question)
    if chosen.claims and not question.bot:  # whom nothing is counted for
        due = began + request.seconds * RESERVE_SHARE
        question, chosen = await secure(store, store.shared, question, chosen, gathered.customer, due)
    reply = answer(question, chosen, (time.perf_counter() - began) * 1e3)
    due = began + request.seconds
    if asked.explain:
        explaining = time.perf_counter()
        reply = await explain(question, chosen, reply, settings.explain_deadline_ms / 1e3)
        due += time.perf_counter() - explaining  # it has a deadline of its own
    left = max(due - time.perf_counter(), LEAST_APPEND_SECONDS) if gathered.readable else 0.0
    decision = record(question, chosen, reply, request.asked, gathered.customer, gathered.events)
    body = express(question, chosen, reply)
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


def _late(asked: DecisionRequest, began: float) -> frozenset[str]:
    """Placements whose own deadline is too near for the model."""
    spent = (time.perf_counter() - began) * 1e3
    bounded = (one for one in asked.placements if one.deadline_ms is not None)
    return frozenset(one.id for one in bounded if spent > (one.deadline_ms or 0) * READ_SHARE)


def _pose(
    request: Request,
    gathered: Gathered,
    frame: Frame,
    models: Mapping[str, Bundle],
    now: int,
    late: frozenset[str],
) -> Question:
    asked = request.asked
    default = frame.compiled.document.consent.personalisation
    personalised = allows(gathered.consent, PERSONALISATION, default)
    return Question(
        decision_id=request.decision_id,
        now=now,
        placements=asked.placements,
        context=asked.context,
        flags=asked.flags,
        unit=gathered.unit,
        anonymous=asked.anonymous_id or "",
        bot=is_bot(asked.context),
        state=gathered.state if personalised else None,
        occurrences=[seen for event in gathered.events if personalised and (seen := read(event)) is not None],
        personalised=personalised,
        frame=frame,
        models=models,
        attention=gathered.attention,
        is_readable=gathered.readable,
        late=late,
        rung="model" if gathered.readable else "prior",
    )


async def _commit(
    store: DecisionStore, request: Request, decision: Decision, partitions: int, body: bytes, seconds: float
) -> bytes:
    """Append the decision and its inline events; spill them if Redis does not take them. The body to answer."""
    messages: dict[int, list[stream.Message]] = {}
    for event in (decision, *decision.events):
        place = stream.partition_of(event.customer, partitions)
        changed = "" if event is decision else event.customer
        messages.setdefault(place, []).append(stream.Message(event.message_id, encode(event), changed))
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
