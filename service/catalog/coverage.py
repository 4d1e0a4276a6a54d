"""Which candidates and placements the catalog's caps and budgets count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from datetime import timedelta

    from numpy.typing import NDArray

    from service.catalog.limits import Budget, Cap, Scope
    from service.catalog.schema import Candidate, Catalog

    Bools = NDArray[np.bool_]


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A cap or a budget over the catalog's candidates."""

    id: str
    per: tuple[str, ...]
    """Sorted; empty for a budget, which counts all customers together."""
    limit: int
    seconds: float | None
    """None: ever."""
    covers: Bools
    """(n,) candidates that it counts."""
    placements: frozenset[str]
    """Placements where it counts."""


def cover(catalog: Catalog) -> tuple[Limit, ...]:
    """The caps, then the budgets. What is the default of a placement counts nowhere: it is what is left to show."""
    caps = [_limit(catalog, cap, cap.scope, cap.period, frozenset(cap.per)) for cap in catalog.caps]
    budgets = [_limit(catalog, budget, budget.scope, budget.period, frozenset()) for budget in catalog.budgets]
    return (*caps, *budgets)


def _limit(catalog: Catalog, one: Cap | Budget, scope: Scope, period: timedelta | None, per: frozenset[str]) -> Limit:
    defaults = {placement.default for placement in catalog.placements}
    places = (p for p in catalog.placements if _within(p.id, scope.placements) and _within(p.channel, scope.channels))
    return Limit(
        id=one.id,
        per=tuple(sorted(per)),
        limit=one.limit,
        seconds=None if period is None else period.total_seconds(),
        covers=np.array([c.id not in defaults and _counts(scope, c) for c in catalog.candidates]),
        placements=frozenset(placement.id for placement in places),
    )


def _counts(scope: Scope, candidate: Candidate) -> bool:
    return (
        _within(candidate.id, scope.candidates)
        and _within(candidate.category, scope.categories)
        and _within(candidate.group, scope.groups)
        and _within(candidate.kind, scope.kinds)
        and (not scope.tags or not frozenset(scope.tags).isdisjoint(candidate.tags))
    )


def _within(one: str | None, listed: tuple[str, ...]) -> bool:
    return not listed or one in listed
