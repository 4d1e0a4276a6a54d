"""A page view, step by step: check, gather under a deadline, choose, commit, answer."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from features.consent import PERSONALISATION, allows
from features.events.occurrences import read
from features.traits import tell
from service import metrics
from service.decisions.choose import choose
from service.decisions.committing import Commit, same, say
from service.decisions.gathering import READ_SHARE, Gathered, gather, unread
from service.decisions.question import Question
from service.decisions.request import check
from service.decisions.reserving import scopes_of
from service.decisions.store import UnreachableError
from service.experiments.bots import is_bot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from features.settings import Settings
    from models.bundle import Bundle
    from service.decisions.choose import Chosen
    from service.decisions.committing import Express
    from service.decisions.frame import Frame
    from service.decisions.request import Request
    from service.decisions.schema import DecisionRequest
    from service.decisions.store import DecisionStore
    from service.live import Live

log = logging.getLogger(__name__)


async def decide(
    live: Live,
    store: DecisionStore,
    settings: Settings,
    asked: DecisionRequest,
    frame: Frame | None = None,
    express: Express = say,
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
    tracked = frame.compiled.document.consent.tracking
    if time.perf_counter() - began > request.seconds * READ_SHARE:
        gathered = unread(request)  # it has waited too long: whoever comes behind shall not wait as long
    else:
        gathered = await gather(store, request, scopes, settings.partitions, began, tracked)
    question = _pose(request, gathered, frame, live.models, now, _late(asked, began))
    question, chosen = _choose(question)
    commit = Commit(store, settings, request, gathered, began, tracked, express)
    chosen, body = await commit.write(question, chosen)
    metrics.count_decision(chosen, time.perf_counter() - began)
    live.observe(question, chosen)
    return body


async def _earlier(store: DecisionStore, request: Request, decision_id: str) -> bytes | None:
    """The stored answer to the same id and body."""
    try:
        stored = await store.read_answer(request.partition, decision_id, request.seconds * READ_SHARE)
    except UnreachableError:
        return None
    return None if stored is None else same(stored, request)


def _choose(question: Question) -> tuple[Question, Chosen]:
    """What is chosen; without models if one of them fails, which warming up should have told. And of what."""
    try:
        return question, choose(question)
    except Exception:
        if not question.models:
            raise
        log.exception("a model failed: decision %s is made without any", question.decision_id)
        metrics.MODEL_FAILURES.inc()
        question = msgspec.structs.replace(question, models={})
        return question, choose(question)


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
        visited=gathered.visited if asked.anonymous_id and frame.compiled.experiments.binds_visitors else 0,
        bot=is_bot(asked.context),
        state=gathered.state if personalised else None,
        traits=tell(gathered.traits, gathered.events) if personalised else {},
        occurrences=[seen for event in gathered.events if personalised and (seen := read(event)) is not None],
        personalised=personalised,
        frame=frame,
        models=models,
        attention=gathered.attention,
        is_readable=gathered.readable,
        late=late,
        rung="model" if gathered.readable else "prior",
    )
