"""What candidates are ranked by: the rung that is left, and the placement's strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.policy import prioritise
from models.thompson import sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.bundle import Bundle
    from service.catalog.schema import Placement
    from service.decisions.pools import Pool
    from service.decisions.question import Question, Rung
    from service.decisions.schema import AskedPlacement

    Floats = NDArray[np.float64]


def rung_of(question: Question, asked: AskedPlacement, bundle: Bundle | None) -> Rung:
    """The best rung that is left for a placement."""
    if question.frame.head is None:
        return "static"
    if question.rung == "model" and (bundle is None or asked.id in question.late):
        return "prior"
    return question.rung


def priority_of(placement: Placement, pool: Pool, value: Floats, propensity: Floats | None) -> Floats:
    """(m,) what the placement's strategy ranks by."""
    if propensity is None or placement.strategy == "fixed":
        # The catalog's order: its first candidate has the highest priority.
        size = len(pool.places)
        return np.arange(size, 0, -1) / (size + 1.0)
    if placement.strategy == "propensity":
        return propensity
    return prioritise(propensity, value, pool.weight)


def draw_priorities(
    question: Question, placement: Placement, pool: Pool, value: Floats, propensity: Floats | None
) -> Floats | None:
    """(k, m) priorities by what the propensities of hardly seen candidates may be."""
    if not placement.thompson or propensity is None or placement.strategy == "fixed":
        return None
    exposures = question.frame.exposures_at(question.now / 1e6)[pool.places]
    drawn = sample(question.decision_id, placement.id, propensity, exposures, placement.thompson)
    return None if drawn is None else priority_of(placement, pool, value, drawn)
