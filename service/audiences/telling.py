"""What was chosen for a customer, as rows of the file and as the event that the log has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from service.audiences.schema import Line
from service.decisions.explain import explain_items
from service.decisions.record import record
from service.decisions.schema import (
    AnsweredItem,
    AnsweredPlacement,
    AskedPlacement,
    DecisionAnswer,
    DecisionRequest,
)

if TYPE_CHECKING:
    from features.events.schema import Decision
    from service.audiences.planning import Plan
    from service.audiences.selecting import Member
    from service.decisions.choose import Chosen, Slate
    from service.decisions.question import Question

MOST_REASONS = 3
NOTHING, APPRENTICE = "no_candidates", "apprentice"


def lines_of(member: Member, question: Question, chosen: Chosen, explain: bool = False) -> list[Line]:
    """A line for each item, with what speaks for it; one with the reason for who gets nothing."""
    [slate] = chosen.slates
    if not slate.picks:
        return [Line(customer=member.customer, reason=reason_of(chosen))]
    candidates = question.frame.compiled.candidates
    whys = why_of(slate, explain)
    return [
        Line(
            customer=member.customer,
            candidate=candidates[int(slate.pool.places[picked.at])].id,
            rank=rank,
            propensity=None if slate.propensity is None else float(slate.propensity[picked.at]),
            value=float(slate.value[picked.at]),
            priority=float(slate.priority[picked.at]),
            selection_probability=picked.selection_probability,
            rung=slate.rung,
            why=why,
            best_hour=member.best_hour,
            send_at=member.send_at,
            decision_id=question.decision_id,
        )
        for rank, (picked, why) in enumerate(zip(slate.picks, whys, strict=True), 1)
    ]


def why_of(slate: Slate, explain: bool) -> list[str]:
    """Of each item, its place among those that might be given and what that comes of; if asked, also the features that
    move the model's score of it most.
    """
    told = [_standing(slate, picked.at) for picked in slate.picks]
    if not explain:
        return told
    items = explain_items(slate, [picked.at for picked in slate.picks], [""] * len(slate.picks))
    return [
        "; ".join((standing, *(one.words for one in item.contributions[:MOST_REASONS])))
        for standing, item in zip(told, items, strict=True)
    ]


def _standing(slate: Slate, at: int) -> str:
    place = 1 + int(np.count_nonzero(slate.legal & (slate.priority > slate.priority[at])))
    said = f"place {place} of {np.count_nonzero(slate.legal)}"
    if slate.propensity is None or slate.placement.strategy == "fixed":
        return f"{said} in the catalog's order"
    said += f" by propensity {slate.propensity[at]:.4g}"
    if slate.placement.strategy == "propensity":
        return said
    return f"{said} x value {slate.value[at]:.4g} x weight {slate.pool.weight[at]:.4g}"


def reason_of(chosen: Chosen) -> str:
    """Why nothing may be shown: the reasons with the most candidates."""
    [slate] = chosen.slates
    if slate.would:  # the placement's model only learns yet
        return APPRENTICE
    counted = sorted(((len(ids), reason) for reason, ids in slate.rejected.items()), reverse=True)
    return ", ".join(f"{reason} ({count})" for count, reason in counted[:MOST_REASONS]) or NOTHING


def word_of(chosen: Chosen) -> str:
    """The first of those reasons, to be counted."""
    return reason_of(chosen).partition(" (")[0]


def log_of(plan: Plan, member: Member, question: Question, chosen: Chosen) -> Decision:
    """The decision's event, as of the time of sending."""
    [slate] = chosen.slates
    candidates = question.frame.compiled.candidates
    competing = [candidates[place].id for place in slate.pool.places.tolist()]
    named = AskedPlacement(id=plan.placement, candidates=competing)
    told = msgspec.structs.replace(chosen, slates=[msgspec.structs.replace(slate, asked=named)])
    asked = DecisionRequest(placements=[named], customer_id=member.customer)
    decision = record(question, told, _reply(question, chosen), asked, member.customer, [])
    return msgspec.structs.replace(decision, audience=plan.id)


def _reply(question: Question, chosen: Chosen) -> DecisionAnswer:
    """The answer without what a page would show: whoever sends fills that in."""
    [slate] = chosen.slates
    candidates = question.frame.compiled.candidates
    items = [
        AnsweredItem(
            id=candidates[int(slate.pool.places[picked.at])].id,
            kind="",
            rank=rank,
            propensity=None if slate.propensity is None else float(slate.propensity[picked.at]),
            value=float(slate.value[picked.at]),
            priority=float(slate.priority[picked.at]),
            selection_probability=picked.selection_probability,
            content={},
        )
        for rank, picked in enumerate(slate.picks, 1)
    ]
    return DecisionAnswer(
        decision_id=question.decision_id,
        took_ms=0.0,
        rung=chosen.rung,
        features_as_of=None,
        placements=[AnsweredPlacement(id=slate.placement.id, rung=slate.rung, items=items)],
        experiments=[],
        model=None,
        catalog_version=question.frame.compiled.version,
    )
