"""What the score decided: what kept those that might be shown from it, and what would have made the runner-up win."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import numpy as np

from models.policy import Conflict, Exploration, Quota, order, pick
from service.decisions.eligibility import screen
from service.decisions.schema import Change, RunnerUp
from service.decisions.valuing import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from models.policy import Constraint
    from service.decisions.choose import Slate
    from service.decisions.eligibility import Page
    from service.decisions.question import Question

    Floats = NDArray[np.float64]

AT_MOST = "at_most:"
"""Begins the reason of what diversity keeps out."""
SEEN = "candidate__value"
"""The value that the catalog gives, as a model sees it."""


def constraints_of(question: Question, slate: Slate, page: Page) -> list[Constraint]:
    """What picks make illegal, as it was before the first."""
    return screen(question, slate.pool, slate.features, page, {}).constraints


def blocked(slate: Slate, constraints: Sequence[Constraint]) -> dict[int, str]:
    """Position in the pool -> what the picks above made of it: a reason, for those that might be shown before."""
    legal, found = slate.legal.copy(), {}
    fresh = copy.deepcopy(list(constraints))
    names = list(_names(slate, constraints))
    for picked in slate.picks:
        for name, constraint in zip(names, fresh, strict=True):
            before = legal.copy()
            constraint.take(picked.at, legal)
            found.update(dict.fromkeys(np.flatnonzero(before & ~legal).tolist(), name))
    return found


def _names(slate: Slate, constraints: Sequence[Constraint]) -> Iterator[str]:
    """The reason that each constraint is, in the order in which they are made."""
    diversity = iter(slate.placement.at_most)
    for constraint in constraints:
        if isinstance(constraint, Conflict):
            yield "conflict"
            continue
        labels = constraint.labels if isinstance(constraint, Quota) else None
        bound = next((one for one in slate.pool.bounds if one.labels is labels), None)
        axis = next(diversity, None) if bound is None else None
        yield bound.name if bound is not None else "group_full" if axis is None else f"{AT_MOST}{axis}"


def run_up(
    question: Question, slate: Slate, constraints: Sequence[Constraint], skipped: frozenset[int]
) -> RunnerUp | None:
    """The best that was not shown though it might have been, and the smallest change by which it would have been.

    By priorities alone, without exploration. None if all were shown, or none by its priority.
    """
    picked = {one.at for one in slate.picks}
    left = [at for at in order(slate.priority) if slate.legal[at] and at not in picked and at not in skipped]
    if not left or not slate.picks:
        return None
    at = left[0]
    told = question.frame.compiled.candidates[int(slate.pool.places[at])]
    priority = float(slate.priority[at])
    best = _pick(question, slate, constraints, slate.priority)
    if at in best:
        return RunnerUp(id=told.id, priority=_finite(priority), words="it would have been shown without exploration")
    needed = _needed(question, slate, constraints, at, best)
    changes = [] if needed is None else _changes(slate, at, needed)
    if needed is None or not changes:
        return RunnerUp(id=told.id, priority=_finite(priority), words="no change of its value or propensity would do")
    ways = " or ".join(f"a {one.what} above {_round_up(one.needed)} (it is {one.now:.4g})" for one in changes)
    return RunnerUp(
        id=told.id,
        priority=_finite(priority),
        needed=needed,
        changes=changes,
        words=f"it would have been shown with {ways}",
    )


def _needed(
    question: Question, slate: Slate, constraints: Sequence[Constraint], at: int, best: list[int]
) -> float | None:
    """The least of the priorities shown that it must exceed."""
    for threshold in sorted({float(slate.priority[one]) for one in best if one not in slate.pool.pinned}):
        raised = slate.priority.copy()
        raised[at] = math.nextafter(threshold, math.inf)
        if threshold >= slate.priority[at] and at in _pick(question, slate, constraints, raised):
            return threshold
    return None


def _pick(question: Question, slate: Slate, constraints: Sequence[Constraint], priority: Floats) -> list[int]:
    picks = pick(
        order(priority),
        slate.legal,
        slate.asked.limit or slate.placement.limit,
        Exploration(),
        question.decision_id,
        slate.placement.id,
        slate.pool.pinned,
        copy.deepcopy(list(constraints)),
    )
    return [one.at for one in picks]


def _changes(slate: Slate, at: int, needed: float) -> list[Change]:
    """Each by itself, all else as it is; propensity up to 1."""
    if slate.propensity is None or slate.placement.strategy == "fixed":
        return []
    propensity, value, weight = (float(values[at]) for values in (slate.propensity, slate.value, slate.pool.weight))
    if slate.placement.strategy == "propensity":
        return [Change(what="propensity", now=propensity, needed=needed)] if needed < 1.0 else []
    found = [
        Change(what="value", now=value, needed=_needed_value(slate, at, needed)),
        Change(what="weight", now=weight, needed=_share(needed, propensity * value)),
        Change(what="propensity", now=propensity, needed=_share(needed, value * weight)),
    ]
    return [one for one in found if one.needed < (1.0 if one.what == "propensity" else math.inf)]


def _needed_value(slate: Slate, at: int, needed: float) -> float:
    """What the catalog's value would have to exceed; infinite if none would do.

    A model may see the value, so that its propensity moves with it: it is the same between two limits of its trees.
    """
    bundle, weight, now = slate.bundle, float(slate.pool.weight[at]), float(slate.value[at])
    if bundle is None or slate.propensity is None:
        return math.inf if slate.propensity is None else _share(needed, float(slate.propensity[at]) * weight)
    limits = bundle.limits(SEEN)
    if limits is None or (slate.placement.value_from == MODEL and bundle.appraiser is not None):
        return math.inf
    edges = [now, *limits[limits > now].tolist(), math.inf]
    rows = {name: np.repeat(values[at], len(edges) - 1) for name, values in slate.features.items()}
    rows[SEEN] = np.nextafter(edges[:-1], math.inf)
    for begin, end, propensity in zip(edges, edges[1:], bundle.propensities(rows).tolist(), strict=False):
        if (least := max(_share(needed, propensity * weight), begin)) < end:
            return float(least)
    return math.inf


def _share(needed: float, others: float) -> float:
    return needed / others if others > 0.0 else math.inf


def _round_up(number: float) -> str:
    """In four figures, and no less than the number: what exceeds the one exceeds the other.

    >>> _round_up(0.36431), _round_up(8.5582946), _round_up(12.0)
    ('0.3644', '8.559', '12')
    """
    told = f"{number:.4g}"
    if float(told) >= number:
        return told
    return f"{float(told) + 10.0 ** (math.floor(math.log10(abs(number))) - 3):.4g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
