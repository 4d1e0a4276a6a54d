"""Why and why not, in words and numbers: SHAP contributions of what is shown, the reason of what is not, and how old
the features were.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.ids import digest
from features.lifetimes import is_expired
from models.policy import order
from service.decisions import reasons, rivals
from service.decisions.absent import absent
from service.decisions.cases import Case
from service.decisions.choose import show_on
from service.decisions.eligibility import Page
from service.decisions.record import timestamp
from service.decisions.schema import Contribution, ExplainedItem, Explanation, NotShown, ViewAge

if TYPE_CHECKING:
    from models.signature import Feature
    from service.decisions.choose import Chosen, Slate
    from service.decisions.question import Question
    from service.decisions.schema import DecisionAnswer, View

EXPLORED = "an explored item took the place"
PINNED = "a pinned item took the place"
LATER = "equal priority, and later in the catalog"
STRONGEST = 6
APPRENTICE = "the placement serves its default while its policy is tried"


async def explain(question: Question, chosen: Chosen, reply: DecisionAnswer, seconds: float) -> DecisionAnswer:
    """The answer with ages and explanations; without the latter when they take longer than `seconds`."""
    reply = msgspec.structs.replace(reply, ages=tell_ages(question))
    try:
        async with asyncio.timeout(seconds):
            explanations = await asyncio.to_thread(_explain_all, question, chosen)
    except TimeoutError:
        return reply
    placements = [
        msgspec.structs.replace(placement, explanation=explanation)
        for placement, explanation in zip(reply.placements, explanations, strict=True)
    ]
    return msgspec.structs.replace(reply, placements=placements)


def tell_ages(question: Question) -> list[ViewAge]:
    """The age of each feature view as the decision read it."""
    state, head, now = question.state, question.frame.head, question.now
    read = None if state is None else state.applied
    taken = head.time if head is not None and head.number else None
    number = str(head.number) if head is not None and head.number else None
    return [
        _age("customer", now, read, expired=read is not None and is_expired("customer", read, now)),
        _age("candidate", now, taken, number),
        _age("successors", now, taken, number),
        ViewAge(view="attributes", version=question.frame.compiled.version, as_of=None, age_seconds=None),
    ]


def _age(view: View, now: int, as_of: int | None, version: str | None = None, expired: bool = False) -> ViewAge:
    if as_of is None:
        return ViewAge(view=view, version=version, as_of=None, age_seconds=None)
    age = max(now - as_of, 0) / 1e6
    return ViewAge(view=view, version=version, as_of=timestamp(as_of), age_seconds=age, expired=expired)


def _explain_all(question: Question, chosen: Chosen) -> list[Explanation]:
    """One of each slate, with the page as it found it."""
    page, explanations = Page(question.attention), []
    for slate in chosen.slates:
        explanations.append(_explain(question, slate, page))
        show_on(page, slate, question)
    return explanations


def _explain(question: Question, slate: Slate, page: Page) -> Explanation:
    compiled = question.frame.compiled
    ids = [compiled.candidates[at].id for at in slate.pool.places.tolist()]
    place = {text: at for at, text in enumerate(ids)}

    def tell_of(text: str, reason: str, priority: float | None = None) -> NotShown:
        words, inputs = reasons.tell(Case(question, slate, page, text, place.get(text, -1)), reason)
        return NotShown(id=text, reason=reason, priority=priority, words=words, inputs=inputs)

    not_shown = [tell_of(text, reason) for reason, texts in slate.rejected.items() for text in texts]
    shown = [picked.at for picked in slate.picks]
    present = {*shown, place.get(slate.placement.default, -1)} if slate.fell_back else {*shown}
    constraints = rivals.constraints_of(question, slate, page)
    blocked = rivals.blocked(slate, constraints)
    last = min((float(slate.priority[at]) for at in shown), default=math.nan)
    ranked = order(slate.priority)
    worst = max((ranked.index(at) for at in shown), default=-1)
    won = EXPLORED if shown != ranked[: len(shown)] else LATER
    won = PINNED if shown and {*shown} <= {*slate.pool.pinned} else won
    is_full = len(shown) >= (slate.asked.limit or slate.placement.limit)
    for turn, at in enumerate(ranked):
        if at in present or not slate.legal[at]:
            continue
        priority, gap = _finite(float(slate.priority[at])), last - float(slate.priority[at])
        if at in blocked and not (is_full and gap > 0):
            not_shown.append(tell_of(ids[at], blocked[at], priority))
        else:
            reason = APPRENTICE if slate.placement.apprentice else _reason(gap, LATER if turn > worst else won)
            inputs = {} if math.isnan(gap) else {"priority": priority, "last_shown": _finite(last)}
            not_shown.append(NotShown(id=ids[at], reason=reason, priority=priority, words=reason, inputs=inputs))
    served = slate.placement.default if slate.fell_back else None
    not_shown += [tell_of(text, reason) for text, reason in absent(question, slate) if text != served]
    return Explanation(
        items=explain_items(slate, shown, [ids[at] for at in shown]),
        not_shown=not_shown,
        runner_up=rivals.run_up(question, slate, constraints, frozenset(present)),
    )


def _reason(gap: float, won: str) -> str:
    return f"priority is {gap:.4g} below the last shown" if gap > 0 else won


def explain_items(slate: Slate, shown: list[int], ids: list[str]) -> list[ExplainedItem]:
    """The items at these positions of the pool; without contributions on lower rungs."""
    if slate.bundle is None or not shown:
        return [ExplainedItem(id=text) for text in ids]
    if slate.match is not None:  # each by the model of its team
        alone = [msgspec.structs.replace(slate, bundle=bundle, match=None) for bundle in slate.match.bundles]
        parts = zip(alone, shown, ids, strict=True)
        return [item for own, at, text in parts for item in explain_items(own, [at], [text])]
    rows = {name: np.asarray(values)[shown] for name, values in slate.features.items()}
    features = slate.bundle.description.signature.features
    items = []
    for row, effects in enumerate(slate.bundle.contributions(rows)):
        strongest = np.argsort(-np.abs(effects[:-1]), kind="stable")[:STRONGEST].tolist()
        told = [
            _contribution(features[at], float(rows[features[at].name][row]), float(effects[at]))
            for at in strongest
            if effects[at] != 0.0
        ]
        score, base = float(effects.sum()), float(effects[-1])
        others = score - base - sum(each.contribution for each in told)
        items.append(ExplainedItem(id=ids[row], score=score, base=base, contributions=told, others=others))
    return items


def _contribution(feature: Feature, raw: float, effect: float) -> Contribution:
    value: float | str | None = _finite(raw)
    if feature.kind == "category":
        value = next((category for category in feature.categories if digest(category) == int(raw)), None)
    return Contribution(
        feature=feature.name,
        value=value,
        contribution=effect,
        words=f"{phrase(feature.name)} is {_say(value)}: {'raises' if effect > 0 else 'lowers'} the score",
    )


def phrase(name: str) -> str:
    """A feature's name as words: `customer__product_viewed__decayed_7d` -> "customer: product viewed, decayed 7d"."""
    entity, *rest = name.split("__")
    return f"{entity}: {', '.join(part.replace('_', ' ') for part in rest)}"


def _say(value: float | str | None) -> str:
    return "unknown" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
