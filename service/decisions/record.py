"""A decision as an event: everything needed to serve it again, and the answer to the page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from features.aggregates.rows import LAYOUTS
from features.events.schema import Decision, Served, Slot, StateRead
from service.decisions.content import fill
from service.decisions.schema import (
    AnsweredExperiment,
    AnsweredItem,
    AnsweredModel,
    AnsweredPlacement,
    DecisionAnswer,
)
from service.decisions.scoring import current_state

if TYPE_CHECKING:
    from features.store import Packed
    from service.decisions.choose import Chosen, Slate
    from service.decisions.question import Question
    from service.decisions.schema import DecisionRequest
    from service.events.normalise import Event


def record(
    question: Question,
    chosen: Chosen,
    reply: DecisionAnswer,
    asked: DecisionRequest,
    customer: str,
    events: list[Event],
) -> Decision:
    """The decision's event, about 5 KB: what was answered, why, and to whom.

    `customer` is whom the request's ids belong to, `events` are the inline ones with their final ids.
    """
    frame = question.frame
    return Decision(
        message_id=f"decision:{question.decision_id}",
        decision_id=question.decision_id,
        customer=customer,
        user_id=asked.customer_id,
        anonymous_id=asked.anonymous_id,
        time=question.now,
        received=question.now,
        context=question.context,
        placements=[
            _slot(slate, answered.items, question)
            for slate, answered in zip(chosen.slates, reply.placements, strict=True)
        ],
        supplied=list(frame.supplied),
        rung=chosen.rung,
        took=round(reply.took_ms * 1e3),
        catalog_version=frame.compiled.version,
        snapshot=0 if frame.head is None else frame.head.number,
        snapshot_time=0 if frame.head is None else frame.head.time,
        state=_state(question.state),
        traits=question.traits,
        late=sorted(question.late),
        personalised=question.personalised,
        readable=question.is_readable,
        attention=question.attention if any(slate.pool.is_bounded for slate in chosen.slates) else None,
        events=events,
        unit=question.unit,
        visited=question.visited,
        variants=chosen.variants,
        forced=sorted(question.flags),
        chances=chosen.chances,
        unassigned=chosen.unassigned,
        bot=question.bot,
        seed=question.decision_id,
    )


def _state(state: Packed | None) -> StateRead | None:
    if state is None:
        return None
    return StateRead(
        layout=LAYOUTS["customer"].version,
        applied=state.applied,
        numbers=state.numbers.tobytes(),
        ids=state.ids.tobytes(),
    )


def _slot(slate: Slate, items: list[AnsweredItem], question: Question) -> Slot:
    match = slate.match
    teams = match.teams if match is not None and match.teams else [None] * len(items)
    return Slot(
        id=slate.placement.id,
        limit=slate.asked.limit or slate.placement.limit,
        candidates=slate.asked.candidates,
        items=[
            Served(
                id=item.id,
                rank=item.rank,
                priority=item.priority,
                propensity=item.propensity,
                value=item.value,
                selection_probability=item.selection_probability,
                team=team,
            )
            for item, team in zip(items, teams, strict=False)  # a default is no team's, and an audience's not sent
        ],
        rejected=slate.rejected,
        exploration=slate.exploration,
        model=None if slate.bundle is None else slate.bundle.label,
        rung=slate.rung,
        would=_would(slate, question),
        interleaved="" if match is None else match.experiment,
        models={} if match is None else match.models,
    )


def _would(slate: Slate, question: Question) -> list[Served]:
    candidates = question.frame.compiled.candidates
    return [
        Served(
            id=candidates[int(slate.pool.places[picked.at])].id,
            rank=rank,
            priority=float(slate.priority[picked.at]),
            propensity=None if slate.propensity is None else float(slate.propensity[picked.at]),
            value=float(slate.value[picked.at]),
            selection_probability=picked.selection_probability,
        )
        for rank, picked in enumerate(slate.would, 1)
    ]


def _items(slate: Slate, question: Question) -> list[AnsweredItem]:
    compiled = question.frame.compiled
    if slate.fell_back:
        place = compiled.place[slate.placement.default]
        default = compiled.candidates[place]
        return [
            AnsweredItem(
                id=default.id,
                kind=default.kind,
                rank=1,
                propensity=None,
                value=float(compiled.value[place]),
                priority=0.0,
                selection_probability=1.0,
                content=fill(question, slate, place, None),
            )
        ]
    items = []
    for rank, picked in enumerate(slate.picks, 1):
        place = int(slate.pool.places[picked.at])
        candidate = compiled.candidates[place]
        items.append(
            AnsweredItem(
                id=candidate.id,
                kind=candidate.kind,
                rank=rank,
                propensity=None if slate.propensity is None else float(slate.propensity[picked.at]),
                value=float(slate.value[picked.at]),
                priority=float(slate.priority[picked.at]),
                selection_probability=picked.selection_probability if slate.match is None else None,
                content=fill(question, slate, place, picked.at),
                expires_at=_expires(question, slate, picked.at),
            )
        )
    return items


def _expires(question: Question, slate: Slate, at: int) -> str | None:
    """The end of a personal window, which begins now for who has not seen the candidate yet."""
    personal = slate.pool.personal
    if personal is None or np.isnan(personal[at]):
        return None
    first = question.attention.first.get(int(slate.pool.ids[at]), question.now)
    return timestamp(first + int(personal[at] * 1e6))


def answer(question: Question, chosen: Chosen, took_ms: float) -> DecisionAnswer:
    """What the page gets."""
    bundle = next((slate.bundle for slate in chosen.slates if slate.bundle is not None), None)
    model = None
    if bundle is not None:
        described = bundle.description
        model = AnsweredModel(name=described.name, version=described.version, reward=described.reward)
    return DecisionAnswer(
        decision_id=question.decision_id,
        took_ms=round(took_ms, 3),
        rung=chosen.rung,
        features_as_of=_as_of(question),
        placements=[
            AnsweredPlacement(id=slate.placement.id, items=_items(slate, question), rung=slate.rung)
            for slate in chosen.slates
        ],
        experiments=[
            AnsweredExperiment(id=name, variant=variant, forced=name in question.flags)
            for name, variant in chosen.variants.items()
        ],
        model=model,
        catalog_version=question.frame.compiled.version,
        personalised=question.personalised,
    )


def _as_of(question: Question) -> str | None:
    if question.occurrences:
        return timestamp(question.now)
    state = current_state(question)
    return None if state is None else timestamp(state.applied)


def timestamp(microseconds: int) -> str:
    """ISO 8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
