"""What rules, values and templates may name, and what types that has where it is known."""

from __future__ import annotations

from functools import cache
from typing import Literal

from features.aggregates.declared import VIEWS
from features.aggregates.keyed import KeyedKind
from features.aggregates.windows import Whole
from models.signature import fillable

Use = Literal["rule", "targeting", "value", "template"]

VARIABLES: dict[Use, tuple[str, ...]] = {
    "rule": ("features", "traits", "segments", "context", "now", "placement"),
    "targeting": ("features", "traits", "segments", "context", "now"),
    "value": ("features", "traits", "segments", "context", "now", "placement", "candidate"),
    "template": ("features", "traits", "segments", "context", "placement", "candidate"),
}
CANDIDATE: dict[str, object] = {
    "id": "a",
    "kind": "offer",
    "title": "A",
    "category": "a",
    "group": "a",
    "tags": ["a"],
    "price": 1.0,
    "weight": 1.0,
}
"""Fields of the candidate, each with an example."""
FUNCTIONS = frozenset(
    (
        *("size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "type", "dyn"),
        *("timestamp", "duration", "max", "min", "getFullYear", "getMonth", "getDate", "getDayOfMonth"),
        *("getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    )
)


@cache
def features_for(use: Use) -> frozenset[str]:
    """Features that are numbers; of values all, else those that are the same for all candidates of a decision."""
    numbers = {name for name, kind in fillable().items() if kind == "number"}
    if use == "value":
        return frozenset(numbers - {"candidate__value"})
    own = {
        name
        for one in VIEWS["customer"]
        if isinstance(one.kind, Whole) or not isinstance(one.kind, KeyedKind)
        for name in one.outputs
    } | {name for name in numbers if name.startswith("context__")}
    return frozenset(own & numbers)


def field_problem(variable: str, field: str, use: Use) -> str | None:
    """Why a variable has no such field; None if it has, or if that cannot be known."""
    if field.startswith("_"):
        return f"{field!r} is not open to anybody"
    if variable == "candidate" and field not in CANDIDATE:
        return f"a candidate has no {field!r} here; it has {', '.join(CANDIDATE)}"
    if variable == "features" and field not in features_for(use):
        if field not in fillable():
            return f"there is no feature {field!r}; `kairos features list` shows all"
        if fillable()[field] == "category":
            return f"the feature {field!r} is no number"
        return f"the feature {field!r} differs by candidate, and this holds for all of them"
    return None
