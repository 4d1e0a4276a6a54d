"""IPS, SNIPS, DM and DR: the target policy's mean reward a slate, each with a normal interval. Pure numpy.

Errors are those of sums over units (the sandwich of Liang and Zeger 1986, eq. 7, for a mean): slates of one customer
move together.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.off_policy.rounds import OffPolicyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.off_policy.rounds import Rounds

    Floats = NDArray[np.float64]

CONFIDENCE = 0.95


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's reward a slate, with its interval."""

    value: float
    error: float
    """Standard error."""
    low: float
    high: float
    confidence: float = CONFIDENCE


def inverse_probability(rounds: Rounds, confidence: float = CONFIDENCE) -> Estimate:
    """IPS: mean of weight x reward (Horvitz and Thompson 1952, section 4; for policies Dudik, Langford, Li 2011,
    Doubly robust policy evaluation and learning, section 2.2). Unbiased where probabilities are right and none is 0.
    """
    return _average(rounds, rounds.weight * rounds.reward, confidence)


def self_normalised(rounds: Rounds, confidence: float = CONFIDENCE) -> Estimate:
    """SNIPS: sum of weight x reward over the sum of weights (Swaminathan and Joachims 2015, The self-normalized
    estimator for counterfactual learning, section 4), rank by rank; its error by the delta method (Owen 2013, Monte
    Carlo theory, methods and examples, section 9.2). Consistent, and within the range of the rewards.
    """
    value, influence = 0.0, np.zeros(len(rounds.reward))
    for here in _ranks(rounds):
        weight, reward = rounds.weight[here], rounds.reward[here]
        total = float(weight.sum())
        if total <= 0.0:
            return Estimate(value=np.nan, error=np.nan, low=np.nan, high=np.nan, confidence=confidence)
        mean = float(weight @ reward) / total
        value += mean * len(weight) / rounds.slates
        influence[here] = weight * (reward - mean) * len(weight) / total
    return _enclose(rounds, value, influence, confidence)


def direct(rounds: Rounds, confidence: float = CONFIDENCE) -> Estimate:
    """DM: the model's reward of what the target would pick (Dudik et al. 2011, section 2.1), below the first rank
    weighted by the picks above.

    The error is that of a model without bias (its influence is then that of DR; Hahn 1998, On the role of the
    propensity score, theorem 1): of the model's own bias no interval knows anything.
    """
    _, target_expected = _expectations(rounds)
    value = 0.0
    for here in _ranks(rounds):
        above = rounds.above[here]
        if (total := float(above.sum())) > 0.0:
            value += float(above @ target_expected[here]) / total * len(above) / rounds.slates
    return _enclose(rounds, value, _robust(rounds), confidence)


def doubly_robust(rounds: Rounds, confidence: float = CONFIDENCE) -> Estimate:
    """DR: the model's reward of what the target would pick, plus the weighted error of the model on what was picked
    (Dudik et al. 2011, section 3), rank by rank (Kiyohara et al. 2022, Doubly robust off-policy evaluation for ranking
    policies under the cascade behavior model, section 4). Unbiased if weights or model are right.

    The model must not have seen the rounds that it speaks of.
    """
    return _average(rounds, _robust(rounds), confidence)


def _robust(rounds: Rounds) -> Floats:
    expected, target_expected = _expectations(rounds)
    return rounds.above * target_expected + rounds.weight * (rounds.reward - expected)


def _expectations(rounds: Rounds) -> tuple[Floats, Floats]:
    if rounds.expected is None or rounds.target_expected is None:
        raise OffPolicyError("without a model's expected rewards there is neither DM nor DR")
    return rounds.expected, rounds.target_expected


def _ranks(rounds: Rounds) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(rounds.rank == rank) for rank in range(int(rounds.rank.max()) + 1)]


def _average(rounds: Rounds, terms: Floats, confidence: float) -> Estimate:
    """The mean over slates of the sums of their picks' terms."""
    return _enclose(rounds, float(terms.sum()) / rounds.slates, terms, confidence)


def _enclose(rounds: Rounds, value: float, influence: Floats, confidence: float) -> Estimate:
    """`influence` (n,) is what each pick adds to the estimate, times the slates; its level does not matter."""
    slates = np.bincount(rounds.slate, influence, minlength=rounds.slates)
    units = np.bincount(rounds.unit, slates - slates.mean())
    if len(units) < 2:
        return Estimate(value=value, error=np.nan, low=np.nan, high=np.nan, confidence=confidence)
    error = float(np.sqrt(len(units) / (len(units) - 1.0) * (units @ units))) / rounds.slates
    reach = NormalDist().inv_cdf(0.5 + confidence / 2.0) * error
    return Estimate(value=value, error=error, low=value - reach, high=value + reach, confidence=confidence)
