"""What rules, values and templates read in a decision: features, traits, segments, the context, the candidate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from service.catalog.expressions import Formula
    from service.decisions.pools import Pool
    from service.decisions.question import Question

    Floats = NDArray[np.float64]

EVALUATION_ERRORS = (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError, IndexError)
"""What an expression raises: a value that is not there, operands that do not fit."""
TRAITS, SEGMENTS, LOCALE = "traits", "segments", "locale"


def context_of(
    question: Question, pool: Pool, features: Mapping[str, Floats], formula: Formula, at: int
) -> dict[str, Any]:
    """What an expression reads, for the candidate at position `at` of the pool; missing features are not there."""
    known: dict[str, Any] = {}
    for name in formula.variables:
        if name == "features":
            values = ((feature, float(features[feature][at])) for feature in formula.features)
            known[name] = {feature: value for feature, value in values if not np.isnan(value)}
        elif name == "candidate":
            known[name] = describe(question, pool, at)
        elif name == "now":
            known[name] = datetime.fromtimestamp(question.now / 1e6, UTC)
        elif name == "placement":
            known[name] = pool.placement.id
        else:
            known[name] = given(question, name)
    return known


def given(question: Question, name: str) -> Any:
    """`traits` (the customer's own, and over them the request's), `segments` or `context`, as the request gives it."""
    if name == TRAITS:
        traits = question.context.get(TRAITS)
        return question.traits | traits if isinstance(traits, dict) else question.traits
    if name == SEGMENTS:
        segments = question.context.get(SEGMENTS)
        return [one for one in segments if isinstance(one, str)] if isinstance(segments, list) else []
    return question.context


def describe(question: Question, pool: Pool, at: int) -> dict[str, Any]:
    """The fields of a candidate that expressions and templates may name."""
    candidate = question.frame.compiled.candidates[int(pool.places[at])]
    return {
        "id": candidate.id,
        "kind": candidate.kind,
        "title": candidate.title,
        "category": candidate.category,
        "group": candidate.group or "",
        "tags": list(candidate.tags),
        "price": candidate.price,
        "weight": candidate.weight,
    }
