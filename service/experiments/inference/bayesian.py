"""The same evidence as beliefs: how likely each arm is the best, and what is lost on average by keeping it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from service.experiments.analysis import Goal
    from service.experiments.inference.estimates import Estimate
    from service.experiments.inference.moments import Floats

DRAWS = 100_000


class Belief(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Of each arm (arms,); NaN where an arm has too few units."""

    best: Floats
    """Probability to be the best."""
    loss: Floats
    """Expected loss of keeping this arm: by how much the best one is better, on average; in the metric's unit."""


def believe(arms: Estimate, goal: Goal = "increase", seed: int = 0) -> Belief:
    """By draws of what each arm's value may be: normal around the estimate, as the posterior is under a flat prior and
    many units (Gelman et al. 2013, Bayesian Data Analysis, 4.1). Expected loss: Stucchio 2015, Bayesian A/B Testing
    at VWO, section 4. The error of a probability is at most 0.2 %.
    """
    if np.isnan(arms.variance).any() or np.isnan(arms.value).any():
        nothing = np.full(arms.value.shape, np.nan)
        return Belief(best=nothing, loss=nothing)
    generator = np.random.default_rng(seed)
    draws = arms.value + np.sqrt(arms.variance) * generator.standard_normal((DRAWS, len(arms.value)))
    if goal == "decrease":
        draws = -draws
    best = draws.max(1)
    leaders = draws == best[:, None]
    return Belief(
        best=(leaders / leaders.sum(1, keepdims=True)).mean(0),
        loss=(best[:, None] - draws).mean(0),
    )
