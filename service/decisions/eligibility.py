"""May this candidate be shown here and now? What may not has its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.policy import Conflict, Quota
from service.decisions.attention import remaining
from service.decisions.expressions import Scene
from service.decisions.verdicts import appraise, judge_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from features.events.schema import Attention
    from models.policy import Constraint
    from service.decisions.pools import Pool
    from service.decisions.question import Question

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

DIFFERING = {"rule": frozenset(("placement",)), "value": frozenset(("placement", "features", "candidate"))}
"""What an expression reads of the placement, or of the candidate."""
BOUGHT = "customer__order_completed__history_512_recency"
DECLINED = "customer__promotion_declined__history_64_recency"


class Page:
    """What the page shows already, and what was found out for it."""

    def __init__(self, attention: Attention) -> None:
        self.shown: set[int] = set()
        """Positions in the catalog."""
        self.groups: dict[int, int] = {}
        """Group -> how many of it."""
        self.avoided: set[int] = set()
        """Groups that what is shown does not stand beside."""
        self.attention = attention
        self.verdicts: dict[int, str] = {}
        """Rule, by its position in the catalog -> the reason that it is; empty where it holds."""
        self.failures: dict[str, int] = {}
        """`rule` and `value` -> how many could not be evaluated."""
        self._scenes: dict[str, Scene] = {}

    def scene(self, use: str, question: Question) -> Scene:
        """What rules, or values, read."""
        found = self._scenes.get(use)
        if found is None:
            compiled = question.frame.compiled
            parts = compiled.rule_parts if use == "rule" else compiled.worth_parts
            found = self._scenes[use] = Scene(question, DIFFERING[use], parts)
        return found

    def note_failure(self, use: str) -> None:
        self.failures[use] = self.failures.get(use, 0) + 1


class Screened(msgspec.Struct, frozen=True):
    """Who may be shown in a placement; arrays are over its pool."""

    legal: Bools
    value: Floats
    constraints: list[Constraint]
    """What picks make of it."""


class Judge:
    """Takes candidates out, for the first reason that there is."""

    def __init__(self, question: Question, pool: Pool, rejected: dict[str, list[str]]) -> None:
        self._candidates, self._places = question.frame.compiled.candidates, pool.places
        self.rejected = rejected
        self.legal = np.ones(len(pool.places), bool)

    def reject(self, which: Bools, reason: str) -> None:
        struck = self.legal & which
        if struck.any():
            self.rejected.setdefault(reason, []).extend(self._candidates[at].id for at in self._places[struck].tolist())
            self.legal &= ~which

    def reject_all(self, which: Bools | None, reason: str) -> None:
        if which is not None:
            self.reject(which, reason)


def screen(
    question: Question, pool: Pool, features: Mapping[str, Floats], page: Page, rejected: dict[str, list[str]]
) -> Screened:
    """Judge the pool. `features` (m,) may be empty where `pool.needs_features` is not; `rejected` is added to."""
    judge = Judge(question, pool, rejected)
    if page.shown:
        judge.reject(np.isin(pool.places, list(page.shown)), "shown_on_page")
    if pool.opens is not None and pool.closes is not None:
        is_open = (pool.opens <= question.now) & (question.now < pool.closes)
        judge.reject(~np.any(is_open, axis=1), "outside_window")
    value = pool.value
    if pool.needs_features:
        value = _judge_customer(judge, question, pool, features, page)
    constraints = _groups(judge, question, pool, page)
    if pool.is_bounded:
        constraints += _bounds(judge, question, pool, page.attention)
    return Screened(judge.legal, value, constraints)


def _judge_customer(judge: Judge, question: Question, pool: Pool, features: Mapping[str, Floats], page: Page) -> Floats:
    """By what is known of the customer. The candidates' values."""
    asks = np.zeros(len(pool.places), bool)
    for within, name, reason in ((pool.bought, BOUGHT, "bought"), (pool.declined, DECLINED, "declined")):
        if within is None:
            continue
        asks |= ~np.isnan(within)
        if question.is_readable:
            judge.reject(features[name] < within, reason)  # never is NaN, and less than nothing
    for _, concerned in pool.rules:
        asks |= concerned
    if pool.worth_of is not None:
        asks |= pool.worth_of >= 0
    if not question.is_readable:
        judge.reject(asks, "customer_unknown")
        return pool.value
    judge_rules(judge, question, pool, features, page)
    return pool.value if pool.worth_of is None else appraise(judge, question, pool, pool.worth_of, features, page)


def _groups(judge: Judge, question: Question, pool: Pool, page: Page) -> list[Constraint]:
    """Diversity within the placement, and what groups allow on a page."""
    constraints: list[Constraint] = []
    labels = {"category": pool.categories, "group": pool.groups, "kind": pool.kinds}
    for axis, most in pool.placement.at_most.items():
        counted = np.where(pool.groups == 0, -1, pool.groups) if axis == "group" else labels[axis]
        constraints.append(Quota(counted, np.full(len(counted), most), {}))
    compiled = question.frame.compiled
    limits = {key: most for key, most in compiled.group_limits.items() if (pool.groups == key).any()}
    if limits:
        counted = np.where(np.isin(pool.groups, list(limits)), pool.groups, -1)
        most_of = np.array([limits.get(key, 0) for key in counted.tolist()])
        left = {key: most - page.groups[key] for key, most in limits.items() if key in page.groups}
        quota = Quota(counted, most_of, left)
        judge.reject_all(quota.exhausted(), "group_full")
        constraints.append(quota)
    if page.avoided:
        judge.reject(np.isin(pool.groups, list(page.avoided)), "conflict")
    if pool.conflicts:
        for group in page.groups:
            if group in pool.conflicts:
                judge.reject(pool.conflicts[group], "conflict")
        constraints.append(Conflict(pool.groups, pool.conflicts))
    return constraints


def _bounds(judge: Judge, question: Question, pool: Pool, attention: Attention) -> list[Constraint]:
    """Caps, budgets, stock and personal windows, by what the ledger said."""
    constraints: list[Constraint] = []
    unsure = "" if attention.is_known else "cap_unknown"
    unsure = "contended" if attention.contended else unsure
    if pool.personal is not None:
        if unsure:
            judge.reject(~np.isnan(pool.personal), unsure)
        age = np.array([question.now - attention.first.get(key, question.now) for key in pool.ids.tolist()]) / 1e6
        judge.reject(age >= pool.personal, "personal_window_over")
    for bound in pool.bounds:
        if unsure:
            judge.reject(bound.labels >= 0, unsure)
            continue
        quota = Quota(bound.labels, bound.most, remaining(bound, attention, question.frame.compiled, question.now))
        judge.reject_all(quota.exhausted(), bound.name)
        constraints.append(quota)
    return constraints
