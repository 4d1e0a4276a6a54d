"""Weights that move while everybody's rate rises by the day, many times: what counting says of the difference, and what
weighting does. Not a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from service.experiments.inference import differences, estimates, moments, thompson, weighting
from tests.benchmarks.promises import Promise, around, pick_arm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.experiments.inference.moments import Floats

LEAD = 0.04
FLOOR = 0.1
UNITS, MOVES = 4000, 20
DRAWS = 1000


def moving(runs: int, seed: int = 6) -> list[Promise]:
    """Of an arm that is better by LEAD. Biases are in standard errors of the mean of all runs; coverage is of 95 %."""
    errors, covered, share = _run(runs, LEAD, seed)
    bias = errors.mean(0) / (errors.std(0) / np.sqrt(runs))
    return [
        Promise("bandit: bias of counting, in its standard errors", float(abs(bias[0])), 3.0, np.inf),
        Promise("bandit: bias of weighting", float(abs(bias[1])), 0.0, 3.0),
        Promise("bandit: bias of weighting, relative to the effect", float(abs(errors.mean(0)[1]) / LEAD), 0.0, 0.08),
        Promise("bandit: coverage of weighting", float(covered.mean()), 0.92, 0.98),
        Promise("bandit: share of units that got the better arm", float(share.mean()), 0.6, 1.0),
    ]


def still(runs: int, seed: int = 9) -> list[Promise]:
    """Of equal arms: how often they are told apart."""
    _, covered, _ = _run(runs, 0.0, seed)
    least, most = around(0.05, runs)
    return [Promise("bandit: equal arms told apart", 1 - float(covered.mean()), max(least - 0.01, 0.0), most + 0.01)]


def _run(runs: int, lead: float, seed: int) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """(runs, 2) errors of counting and of weighting; whether the interval covers; the better arm's units."""
    generator = np.random.default_rng(seed)
    errors = np.empty((runs, 2))
    covered, share = np.zeros(runs, np.bool_), np.empty(runs)
    for run in range(runs):
        arm, chance, reward = _allocate(generator, lead)
        counted = estimates.estimate(moments.measure_groups(arm, 2, reward))
        weighed = estimates.estimate(weighting.weigh(arm, 2, chance, reward))
        known = differences.compare(pick_arm(weighed, 1), pick_arm(weighed, 0))
        errors[run] = counted.value[1] - counted.value[0] - lead, known.value - lead
        covered[run] = known.low <= lead <= known.high
        share[run] = arm.mean()
    return errors, covered, share


def _allocate(generator: np.random.Generator, lead: float) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Arms, chances and rewards of units as they come in; the weights move as a running experiment's do."""
    arms, chances, rewards = np.empty(0, np.int64), np.empty(0), np.empty(0)
    weights: tuple[float, ...] = (0.5, 0.5)
    for move in range(MOVES):
        arm = (generator.random(UNITS // MOVES) < weights[1]).astype(np.int64)
        reward = (generator.random(len(arm)) < 0.05 + 0.2 * move / MOVES + lead * arm).astype(float)
        arms, rewards = np.concatenate([arms, arm]), np.concatenate([rewards, reward])
        chances = np.concatenate([chances, np.array(weights)[arm]])
        draws = thompson.believe_rates(arms, 2, chances, rewards, int(generator.integers(2**31)), DRAWS)
        weights = thompson.share_out(draws, "increase", FLOOR)
    return arms, chances, rewards
