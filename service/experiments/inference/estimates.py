"""What an arm's mean or ratio is, and how sure that is: the delta method, and CUPED on top of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from service.experiments.inference import moments
from service.experiments.inference.moments import COVARIATE, DENOMINATOR, OUTCOME, Floats, Index, Moments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

EXACT = 1e-12
"""Of terms that cancel, what is left below this share of them is rounding: nothing varies."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Of arms of shape (...)."""

    units: Floats
    value: Floats
    """The outcome per unit, or per unit of the denominator."""
    variance: Floats
    """Of `value` as an estimate: NaN below two units, or without a denominator."""
    plain: Floats
    """Its variance without the covariate."""

    def __getitem__(self, at: Index) -> Estimate:
        """Some of the arms."""
        return Estimate(units=self.units[at], value=self.value[at], variance=self.variance[at], plain=self.plain[at])


def estimate(arms: Moments, slope: ArrayLike = 0.0, level: ArrayLike = 0.0) -> Estimate:
    """Value and variance of each arm, with the covariate's part taken off: value - slope x (its mean - level).

    A ratio r of means has the gradient (1, -r) / denominator (Deng, Knoblich and Lu 2018, Applying the Delta Method in
    Metric Analytics, equation 3); with 1 as denominator it is the mean and its variance s^2 / n. The covariate's part:
    Deng, Xu, Kohavi and Walker 2013 (CUPED), equations 1 to 3.
    """
    outcome, denominator = arms.means[..., OUTCOME], arms.means[..., DENOMINATOR]
    slope = np.asarray(slope, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = outcome / denominator
        gradient = np.zeros_like(arms.means)
        gradient[..., OUTCOME] = 1.0 / denominator
        gradient[..., DENOMINATOR] = -ratio / denominator
        plain = _variance(arms, gradient)
        gradient[..., COVARIATE] = -slope
        variance = _variance(arms, gradient)
    value = ratio - slope * (arms.means[..., COVARIATE] - np.asarray(level, float))
    return Estimate(units=arms.units, value=value, variance=variance, plain=plain)


def adjust(arms: Moments) -> Estimate:
    """As `estimate`, with slope and level of all arms (the last axis) together: theta = cov(outcome, covariate) /
    var(covariate) within arms, pooled (Deng, Xu, Kohavi and Walker 2013, equation 4). Of a ratio, its linear part.
    Without a covariate it changes nothing.
    """
    pooled = arms.products.sum(-3)
    whole = moments.add(arms, -1)
    denominator = whole.means[..., DENOMINATOR]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = whole.means[..., OUTCOME] / denominator
        together = (pooled[..., OUTCOME, COVARIATE] - ratio * pooled[..., DENOMINATOR, COVARIATE]) / denominator
        spread = pooled[..., COVARIATE, COVARIATE]
        slope = np.where(spread > 0, together / spread, 0.0)
    return estimate(arms, slope[..., None], whole.means[..., COVARIATE][..., None])


def _variance(arms: Moments, gradient: Floats) -> Floats:
    form = np.einsum("...i,...ij,...j->...", gradient, arms.products, gradient)
    terms = np.einsum("...i,...ij,...j->...", np.abs(gradient), np.abs(arms.products), np.abs(gradient))
    form = np.where(form > EXACT * terms, form, np.where(np.isnan(form), np.nan, 0.0))
    found: Floats = np.where(arms.units > 1, form / (arms.units - 1) / arms.units, np.nan)
    return found
