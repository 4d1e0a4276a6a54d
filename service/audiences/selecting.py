"""Who of a batch of customers an audience is about, and what is asked for each: by the rule and by consent. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features.aggregates.columns import close, decode_blank, decode_rows
from features.aggregates.rows import LAYOUTS
from features.consent import MARKETING, PERSONALISATION, TRACKING, allows
from features.ids import fingerprint
from features.lifetimes import is_expired
from features.traits import values
from models.matrix import moment
from service.audiences.hours import best_hours, next_moment
from service.catalog.experiments import HELD, HOLDOUT
from service.decisions.expressions import EVALUATION_ERRORS
from service.decisions.question import Question
from service.experiments.assignment import Units, assign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from features.aggregates.columns import Columns
    from features.store import Known, Packed
    from service.audiences.planning import Plan
    from service.catalog.expressions import Formula

    Floats = NDArray[np.float64]

NO_CONSENT = "no_marketing_consent"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A customer for whom something is to be chosen."""

    customer: str
    question: Question
    allows_tracking: bool
    best_hour: int | None
    send_at: int


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    members: list[Member]
    columns: Columns
    """Their states, as they count at the plan's time."""
    refusing: list[str]
    """Who does not want to be written to."""
    held: list[str]
    """Who is in the global holdout: nobody writes to them, to know what writing to the others is worth."""
    joined: int
    outside: int
    unknown: int


def select(plan: Plan, batch: Sequence[tuple[str, Known]]) -> Selected:
    """Of customers as they are stored, without those whose row belongs to another id."""
    own = [(customer, known) for customer, known in batch if not known.owner]
    consent = plan.frame.compiled.document.consent
    personalised = [allows(known.consent, PERSONALISATION, consent.personalisation) for _, known in own]
    columns = _columns(plan, [known.row if may else None for (_, known), may in zip(own, personalised, strict=True)])
    told = [values(known.traits) if may else {} for (_, known), may in zip(own, personalised, strict=True)]
    holds = _hold(plan, columns, told)
    hours = best_hours(columns, plan.frame.compiled.zone)
    places: list[int] = []
    members, refusing, held = [], [], []
    for at, (customer, known) in enumerate(own):
        if holds[at] is not True:
            continue
        if not allows(known.consent, MARKETING, consent.marketing):
            refusing.append(customer)
            continue
        if _is_held(plan, known.assignment or customer):
            held.append(customer)
            continue
        places.append(at)
        members.append(
            Member(
                customer=customer,
                question=_pose(plan, customer, known, personalised[at], told[at]),
                allows_tracking=allows(known.consent, TRACKING, consent.tracking),
                best_hour=hours[at],
                send_at=next_moment(plan.at, hours[at], plan.frame.compiled.zone),
            )
        )
    return Selected(
        members=members,
        columns=columns.take(np.array(places, np.int64)),
        refusing=refusing,
        held=held,
        joined=len(batch) - len(own),
        outside=sum(one is False for one in holds),
        unknown=sum(one is None for one in holds),
    )


def _is_held(plan: Plan, unit: str) -> bool:
    table = plan.frame.compiled.experiments
    if not table.held:
        return False
    return assign(table, Units(unit), plan.at, lambda _: False, {}, lambda _: False).variants.get(HOLDOUT) == HELD


def _columns(plan: Plan, stored: Sequence[Packed | None]) -> Columns:
    """States as they count at the plan's time: what is older than the view's TTL is missing."""
    layout = LAYOUTS["customer"]
    blank = decode_blank(layout)
    rows = [
        (blank.numbers, blank.ids)
        if row is None or is_expired("customer", row.applied, plan.at)
        else (row.numbers, row.ids)
        for row in stored
    ]
    return decode_rows(layout, rows)


def _hold(plan: Plan, columns: Columns, told: Sequence[dict[str, Any]]) -> list[bool | None]:
    """Whether the rule holds for each; None where it asks for what is not there."""
    formula = plan.formula
    if formula is None or not columns.size:
        return [True] * columns.size
    now = np.full(columns.size, plan.at / 1e6)
    closed: dict[str, Floats] = close(columns, now) if formula.features else {}
    hour, weekday = moment(plan.at / 1e6, plan.frame.compiled.zone)
    closed |= {"context__hour": np.full_like(now, hour), "context__weekday": np.full_like(now, weekday)}
    shared: dict[str, Any] = {"segments": [], "context": {}, "placement": plan.placement}
    shared["now"] = datetime.fromtimestamp(plan.at / 1e6, UTC)
    context = {name: shared[name] for name in formula.variables if name in shared}
    columned = [(name, closed[name].tolist()) for name in formula.features]
    return [_holds(formula, context | {"traits": told[at]}, columned, at) for at in range(columns.size)]


def _holds(
    formula: Formula, context: dict[str, Any], columned: Sequence[tuple[str, list[float]]], at: int
) -> bool | None:
    if columned:
        known = {name: column[at] for name, column in columned}
        context = context | {"features": {name: value for name, value in known.items() if value == value}}
    try:
        return formula.evaluate(context) is True
    except EVALUATION_ERRORS:
        return None


def _pose(plan: Plan, customer: str, known: Known, personalised: bool, traits: dict[str, Any]) -> Question:
    return Question(
        decision_id=f"{plan.id}-{fingerprint(customer) % 2**64:016x}",
        now=plan.at,
        placements=[plan.asked],
        context={},
        flags={},
        unit=known.assignment or customer,
        state=known.row if personalised else None,
        traits=traits,
        occurrences=[],
        frame=plan.frame,
        models=plan.models,
        personalised=personalised,
        sent=True,
        rung="model",
    )
