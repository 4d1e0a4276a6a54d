"""Why and why not, in words and numbers: SHAP contributions of what is shown, and the reason of what is not."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.ids import digest
from models.policy import order
from service.decisions.schema import Contribution, ExplainedItem, Explanation, NotShown

if TYPE_CHECKING:
    from models.signature import Feature
    from service.decisions.choose import Chosen, Question, Slate
    from service.decisions.schema import DecisionAnswer

STRONGEST = 6


async def explain(question: Question, chosen: Chosen, reply: DecisionAnswer, seconds: float) -> DecisionAnswer:
    """The answer with explanations; without them when they take longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            explanations = await asyncio.to_thread(lambda: [_explain(question, slate) for slate in chosen.slates])
    except TimeoutError:
        return reply
    placements = [
        msgspec.structs.replace(placement, explanation=explanation)
        for placement, explanation in zip(reply.placements, explanations, strict=True)
    ]
    return msgspec.structs.replace(reply, placements=placements)


def _explain(question: Question, slate: Slate) -> Explanation:
    candidates = question.frame.compiled.candidates
    shown = [picked.at for picked in slate.picks]
    contributions = _contributions(slate, shown)
    items = [
        ExplainedItem(id=candidates[int(slate.pool[at])].id, contributions=contributions[n])
        for n, at in enumerate(shown)
    ]
    reasons = [NotShown(id=text, reason=reason) for reason, texts in slate.rejected.items() for text in texts]
    last = slate.priority[shown].min() if shown else math.nan
    ranked = order(slate.priority)
    for at in ranked:
        if at not in shown:
            gap = last - slate.priority[at]
            reason = _reason(
                float(gap), explored=any(picked.at != best for picked, best in zip(slate.picks, ranked, strict=False))
            )
            reasons.append(
                NotShown(
                    id=candidates[int(slate.pool[at])].id, reason=reason, priority=_finite(float(slate.priority[at]))
                )
            )
    return Explanation(items=items, not_shown=reasons)


def _reason(gap: float, explored: bool) -> str:
    if gap > 0:
        return f"priority is {gap:.4g} below the last shown"
    return "an explored item took the place" if explored else "equal priority, and later in the catalog"


def _contributions(slate: Slate, shown: list[int]) -> list[list[Contribution]]:
    if slate.bundle is None or not shown:
        return [[] for _ in shown]
    rows = {name: np.asarray(values)[shown] for name, values in slate.features.items()}
    values = slate.bundle.contributions(rows)
    signature = slate.bundle.description.signature
    explained = []
    for row in range(len(shown)):
        strongest = np.argsort(-np.abs(values[row, :-1]), kind="stable")[:STRONGEST].tolist()
        explained.append(
            [
                _contribution(signature.features[at], float(rows[signature.features[at].name][row]), values[row, at])
                for at in strongest
                if values[row, at] != 0.0
            ]
        )
    return explained


def _contribution(feature: Feature, raw: float, effect: float) -> Contribution:
    value: float | str | None = _finite(raw)
    if feature.kind == "category":
        value = next((category for category in feature.categories if digest(category) == int(raw)), None)
    return Contribution(
        feature=feature.name,
        value=value,
        contribution=float(effect),
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
