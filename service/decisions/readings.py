"""Reasons that an expression of the catalog gave: its text, and the values that it read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from service.decisions.cases import moment
from service.decisions.expressions import EVALUATION_ERRORS, context_of, given

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.catalog.expressions import Formula
    from service.decisions.cases import Case, Told

TEXTS = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
READS = re.compile(r"(?<![\w.])(traits|context)((?:\.[A-Za-z_]\w*)+)")
LONGEST = 200
"""Characters of a value that is told."""


def tell_rule(case: Case) -> Told:
    formula = _formula(case, "rules", "rule_of")
    return f"its rule does not hold: {formula.text}", {"rule": formula.text, **_read(case, formula)}


def tell_failure(formulas: str, which: str, what: str) -> Callable[[Case], Told]:
    def of(case: Case) -> Told:
        formula = _formula(case, formulas, which)
        inputs = {what: formula.text, **_read(case, formula)}
        try:
            result = formula.evaluate(_context(case, formula))
        except EVALUATION_ERRORS as error:
            why = f"{type(error).__name__}: {error}".partition("\n")[0][:LONGEST]
        else:
            why = f"it gives {result!r}"[:LONGEST]
        return f"its {what} cannot be evaluated ({why}): {formula.text}", {**inputs, "error": why}

    return of


def _formula(case: Case, formulas: str, which: str) -> Formula:
    compiled = case.question.frame.compiled
    found: Formula = getattr(compiled, formulas)[int(getattr(compiled, which)[compiled.place[case.id]])]
    return found


def _context(case: Case, formula: Formula) -> dict[str, Any]:
    return context_of(case.question, case.slate.pool, case.slate.features, formula, case.at)


def _read(case: Case, formula: Formula) -> dict[str, Any]:
    """What the formula named, with its values; null for what is not there."""
    known = _context(case, formula)
    read: dict[str, Any] = {f"features.{name}": known["features"].get(name) for name in formula.features}
    for variable, path in READS.findall(TEXTS.sub("''", formula.text)):
        value = given(case.question, variable)
        for step in path[1:].split("."):
            value = value.get(step) if isinstance(value, dict) else None
        read[f"{variable}{path}"] = value
    if "segments" in formula.variables:
        read["segments"] = known["segments"]
    if "placement" in formula.variables:
        read["placement"] = known["placement"]
    if "now" in formula.variables:
        read["now"] = moment(case.question.now)
    return {name: value if len(repr(value)) <= LONGEST else repr(value)[:LONGEST] for name, value in read.items()}
