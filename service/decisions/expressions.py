"""What rules, values and templates read in a decision: features, traits, segments, the context, the candidate."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import cel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.catalog.expressions import Formula
    from service.decisions.pools import Pool
    from service.decisions.question import Question

    Floats = NDArray[np.float64]

EVALUATION_ERRORS = (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError, IndexError)
"""What an expression raises: a value that is not there, operands that do not fit."""
TRAITS, SEGMENTS, LOCALE = "traits", "segments", "locale"


class Scene:
    """What expressions of one decision read, told to CEL once: telling it fifty values takes as long as 200 rules."""

    def __init__(
        self, question: Question, differing: frozenset[str], parts: Mapping[str, frozenset[str] | None]
    ) -> None:
        """`differing` are the variables that are told anew for each expression; of others only `parts` are told, where
        they are known."""
        self._question, self._differing, self._parts = question, differing, parts
        self._context, self._told = cel.Context(), set[str]()

    def evaluate(
        self, formula: Formula, names: Sequence[str], pool: Pool, features: Mapping[str, Floats], at: int
    ) -> Any:
        """For the candidate at `at` of the pool, with the features of these names. Raises EVALUATION_ERRORS."""
        for name in formula.variables:
            if name not in self._told:
                if name not in self._differing:
                    self._told.add(name)  # also if CEL cannot take it: then it is missing to all
                value = _value(self._question, pool, features, names, name, at)
                parts = self._parts.get(name)
                if parts is not None:
                    value = {field: value[field] for field in parts if field in value}
                self._context.add_variable(name, value)
        return formula.program.execute(self._context)


def context_of(
    question: Question, pool: Pool, features: Mapping[str, Floats], formula: Formula, at: int
) -> dict[str, Any]:
    """What an expression reads, for the candidate at position `at` of the pool; missing features are not there."""
    return {name: _value(question, pool, features, formula.features, name, at) for name in formula.variables}


def _value(
    question: Question, pool: Pool, features: Mapping[str, Floats], names: Sequence[str], variable: str, at: int
) -> Any:
    if variable == "features":
        values = ((name, float(features[name][at])) for name in names)
        return {name: value for name, value in values if not math.isnan(value)}
    if variable == "candidate":
        return describe(question, pool, at)
    if variable == "now":
        return datetime.fromtimestamp(question.now / 1e6, UTC)
    if variable == "placement":
        return pool.placement.id
    return given(question, variable)


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
