"""What the catalog's expressions say of candidates: whose rule holds, and what a reward of each is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from service.decisions.expressions import EVALUATION_ERRORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from service.catalog.expressions import Formula
    from service.decisions.eligibility import Judge, Page
    from service.decisions.pools import Pool
    from service.decisions.question import Question

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]


def judge_rules(judge: Judge, question: Question, pool: Pool, features: Mapping[str, Floats], page: Page) -> None:
    """Each rule once a page, unless it asks for the placement: all else that it may read is the same in all of them."""
    rules = question.frame.compiled.rules
    for rule, concerned in pool.rules:
        if not (judge.legal & concerned).any():
            continue
        verdict = page.verdicts.get(rule)
        if verdict is None:
            verdict = _try(rules[rule], question, pool, features, page)
            if "placement" not in rules[rule].variables:
                page.verdicts[rule] = verdict
        if verdict:
            judge.reject(concerned, verdict)


def _try(rule: Formula, question: Question, pool: Pool, features: Mapping[str, Floats], page: Page) -> str:
    """The reason that a rule is; empty if it holds."""
    names = question.frame.compiled.rule_features
    try:
        return "" if page.scene("rule", question).evaluate(rule, names, pool, features, 0) is True else "rule"
    except EVALUATION_ERRORS:
        page.note_failure("rule")
        return "rule_error"


def appraise(
    judge: Judge, question: Question, pool: Pool, worth_of: Ints, features: Mapping[str, Floats], page: Page
) -> Floats:
    """(m,) values, with those that are expressions evaluated; who has none that counts is out."""
    worths, value, scene = question.frame.compiled.worths, pool.value.copy(), page.scene("value", question)
    failed = np.zeros(len(value), bool)
    for at in np.flatnonzero(judge.legal & (worth_of >= 0)).tolist():
        formula = worths[worth_of[at]]
        try:
            value[at] = float(scene.evaluate(formula, formula.features, pool, features, at))
        except EVALUATION_ERRORS:
            page.note_failure("value")
            failed[at] = True
    judge.reject(failed | ~np.isfinite(value), "value_error")
    return value
