"""Who did not even compete in a placement: whom the catalog does not permit there, and whom a shortlist leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.decisions.choose import Slate
    from service.decisions.question import Question

MOST = 1000
"""Told of one placement: as many as may compete."""
NOT_PERMITTED, NOT_NAMED, SHORTLIST = "not_permitted_here", "not_named_here", "shortlist"


def absent(question: Question, slate: Slate) -> Iterator[tuple[str, str]]:
    """(candidate, reason), in the catalog's order; nobody where the request says who competes."""
    if slate.asked.candidates is not None:
        return
    compiled, placement = question.frame.compiled, slate.placement
    permitted, named = compiled.permitted[placement.id], frozenset(placement.candidates or ())
    is_cut = len(slate.pool.places) >= placement.shortlist
    competing = np.zeros(len(permitted), bool)
    competing[slate.pool.places] = True
    for at in np.flatnonzero(~competing)[:MOST].tolist():
        name = compiled.candidates[at].id
        if not permitted[at]:
            yield name, NOT_PERMITTED
        else:
            yield name, SHORTLIST if is_cut and (not named or name in named) else NOT_NAMED
