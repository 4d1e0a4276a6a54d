"""Weights by Thompson sampling: each variant gets units as often as it may be the best one, and a floor at least.

Chances that moved meanwhile are weighed out, so that a variant that had its units on good days is not taken for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from service.catalog.experiments import BUCKETS
from service.experiments.inference import estimates, weighting
from service.experiments.ranges import sizes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.experiments.analysis import Goal
    from service.experiments.inference.moments import Floats

DRAWS = 50_000
LEAST_UNITS = 20
"""Of each variant, before anything moves."""


def believe_rates(
    arm: NDArray[Any], arms: int, chance: Floats, converted: Floats, seed: int, draws: int = DRAWS
) -> Floats:
    """(draws, arms) of what each variant's conversion rate may be: Beta posteriors under a flat prior (Russo, Van Roy,
    Kazerouni, Osband and Wen 2018, A Tutorial on Thompson Sampling, algorithm 3.2). Units count by the inverse of their
    chance, and are as many as their weights are worth: (sum w)^2 / sum w^2 (Kish 1965, Survey Sampling, section 11.7).
    """
    weight = 1.0 / chance
    whole, squares, won = (np.bincount(arm, column, arms) for column in (weight, weight**2, weight * converted))
    worth = np.divide(whole**2, squares, out=np.zeros(arms), where=squares > 0)
    rate = np.divide(won, whole, out=np.zeros(arms), where=whole > 0)
    generator = np.random.default_rng(seed)
    return generator.beta(1 + worth * rate, 1 + worth * (1 - rate), (draws, arms))


def believe_means(
    arm: NDArray[Any], arms: int, chance: Floats, outcome: Floats, denominator: Floats, seed: int
) -> Floats:
    """(DRAWS, arms) of what each variant's mean, or ratio of means, may be: normal around the weighted estimate, as the
    posterior is under a flat prior and many units (Gelman et al. 2013, Bayesian Data Analysis, 4.1).
    """
    found = estimates.estimate(weighting.weigh(arm, arms, chance, outcome, denominator))
    generator = np.random.default_rng(seed)
    draws: Floats = found.value + np.sqrt(found.variance) * generator.standard_normal((DRAWS, arms))
    return draws


def share_out(draws: Floats, goal: Goal, floor: float) -> tuple[float, ...]:
    """(arms,) weights that add up to 1, in buckets: the floor, and the rest by how often each draw is the best.

    >>> share_out(np.array([[0.1, 0.2], [0.1, 0.3], [0.2, 0.1], [0.1, 0.2]]), "increase", 0.1)
    (0.3, 0.7)
    """
    arms = draws.shape[1]
    leader = (draws if goal == "increase" else -draws).argmax(axis=1)
    best = np.bincount(leader, minlength=arms) / len(draws)
    weights = floor + (1 - arms * floor) * best
    return tuple(size / BUCKETS for size in sizes_of(weights.tolist(), 1.0))
