"""Inverse-probability weights: what all units would have done in an arm, where the chance of it moved meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from service.experiments.inference.moments import Floats, Moments, measure_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray


def weigh(arm: NDArray[Any], arms: int, chance: Floats, outcome: Floats, denominator: Floats | float = 1.0) -> Moments:
    """Moments (arms,) of units that were given their arm with `chance`: outcome and denominator over it, so that their
    ratio is the self-normalised estimate (Hajek 1971) and the delta method gives its variance. Units of a time in
    which an arm was rare stand for those that it did not get; without them what an adaptive allocation counts is
    biased (Hadad, Hirshberg, Zhan, Wager and Athey 2021, Confidence intervals for policy evaluation in adaptive
    experiments, section 1). No covariate: its slope would have to be weighted too. Raises ValueError for a chance that
    is none.
    """
    if ((chance <= 0) | (chance > 1) | np.isnan(chance)).any():
        raise ValueError("a chance above 0 and at most 1 is expected of every unit")
    return measure_groups(arm, arms, outcome / chance, denominator / chance)


def moves(arm: NDArray[Any], chance: Floats) -> bool:
    """Whether units of one arm had it with different chances."""
    if not len(arm):
        return False
    order = np.argsort(arm, kind="stable")
    same = arm[order][1:] == arm[order][:-1]
    return bool((same & (np.abs(np.diff(chance[order])) > 1e-9)).any())
