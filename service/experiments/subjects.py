"""Whom rules of experiments and flags judge: what is known of the customer, and of the moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from service import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.catalog.expressions import Formula

EVALUATION_ERRORS = (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError, IndexError)
"""What an expression raises: a value that is not there, operands that do not fit."""


class Subject(msgspec.Struct, frozen=True):
    now: int
    """Microseconds since the epoch."""
    context: Mapping[str, Any]
    """As the request gives it; `traits` and `segments` are parts of it."""
    features: Callable[[], Mapping[str, float]]
    """The customer's own, by name, worked out when they are first asked for; missing ones are not there."""

    def holds(self, formula: Formula) -> bool:
        """Whether a rule holds; one that fails does not."""
        try:
            return formula.evaluate({name: self._read(name, formula) for name in formula.variables}) is True
        except EVALUATION_ERRORS:
            metrics.EXPRESSION_ERRORS.labels("eligibility").inc()
            return False

    def _read(self, name: str, formula: Formula) -> Any:
        if name == "features":
            known = self.features()
            return {feature: known[feature] for feature in formula.features if feature in known}
        if name == "now":
            return datetime.fromtimestamp(self.now / 1e6, UTC)
        if name == "traits":
            traits = self.context.get("traits")
            return _named(traits, formula.parts.get(name)) if isinstance(traits, dict) else {}
        if name == "segments":
            segments = self.context.get("segments")
            return [one for one in segments if isinstance(one, str)] if isinstance(segments, list) else []
        return _named(self.context, formula.parts.get(name))


def _named(given: Mapping[str, Any], parts: frozenset[str] | None) -> dict[str, Any]:
    """Only what a rule names, where that is known: telling CEL the rest takes longer than the rule."""
    return dict(given) if parts is None else {field: given[field] for field in parts if field in given}
