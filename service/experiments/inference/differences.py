"""What separates a variant from the control: intervals and p-values, read once or as often as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from service.experiments.inference.estimates import Estimate
    from service.experiments.inference.moments import Floats

LEAST_UNITS = 100
"""Of an arm, before a sequential interval is told: it holds for large numbers."""


STEADIEST = 0.75
"""Least variance of a unit in an arm, relative to that of units of both arms, in what is looked at often: just as much
as lets equal arms be told apart in 3 % of tests at most (even ones to 99:1, rates of 0.1 % to 30 %).
"""


class Difference(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Variant minus control, of shape (...); NaN where there are too few units."""

    value: Floats
    low: Floats
    high: Floats
    error: Floats
    """Standard error of `value`."""
    lift: Floats
    """Variant / control - 1."""
    lift_low: Floats
    lift_high: Floats
    """NaN where the control may be 0."""
    p: Floats


def compare(variant: Estimate, control: Estimate, alpha: ArrayLike = 0.05) -> Difference:
    """Read once: Welch's interval and test at level `alpha`, with Satterthwaite's degrees of freedom (Welch 1947)."""
    from scipy import stats

    error, freedom = _spread(variant, control)
    alpha = np.asarray(alpha, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (variant.value - control.value) / error
        p = np.where(error > 0, 2 * stats.t.sf(np.abs(t), freedom), _certain(variant, control, error))
        width = stats.t.isf(alpha / 2, freedom)
    return _difference(variant, control, error, width, p)


def follow(variant: Estimate, control: Estimate, alpha: ArrayLike = 0.05, tuned: ArrayLike = 10_000) -> Difference:
    """Read at any time and as often as one likes: an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha,
    Kennedy and Ramdas 2024, Time-uniform central limit theory and asymptotic confidence sequences, theorem 2.2), and
    the smallest alpha at which it excludes 0. It is narrowest, relative to one reading, at `tuned` units of both arms.

    No arm counts as much steadier than both together: a small one that has had no conversion yet, or few, would look
    as if nothing varied in it, which many looks will meet (of arms of 90:10 that convert at 1 %, 25 % were told apart).
    """
    variant, control = _steady(variant, control)
    error, _ = _spread(variant, control)
    alpha = np.asarray(alpha, float)
    units = variant.units + control.units
    enough = np.minimum(variant.units, control.units) >= LEAST_UNITS
    information = units * mixing(alpha, tuned)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z = (variant.value - control.value) / error
        width = np.where(enough, boundary(information, alpha), np.nan)
        p = np.sqrt(information + 1) * np.exp(-(z**2) * information / (2 * (information + 1)))
        p = np.where(error > 0, np.minimum(p, 1.0), _certain(variant, control, error))
    return _difference(variant, control, error, width, np.where(enough, p, 1.0))


def mixing(alpha: ArrayLike, tuned: ArrayLike) -> Floats:
    """rho squared of the boundary that is narrowest after `tuned` units (the same, equation 10 approximated)."""
    loud = -2 * np.log(alpha)
    found: Floats = (loud + np.log(loud + 1)) / np.asarray(tuned, float)
    return found


def boundary(information: ArrayLike, alpha: ArrayLike) -> Floats:
    """How many standard errors the sequence is wide to each side, after units x rho squared of `information`."""
    information = np.asarray(information, float)
    found: Floats = np.sqrt(2 * (1 + 1 / information) * np.log(np.sqrt(information + 1) / alpha))
    return found


def _steady(variant: Estimate, control: Estimate) -> tuple[Estimate, Estimate]:
    """Both with at least a part of the variance that units of both together have, which without a difference is their
    own.
    """
    units = variant.units + control.units
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (variant.variance * variant.units**2 + control.variance * control.units**2) / units
        least = (np.maximum(arm.variance, STEADIEST * pooled / arm.units) for arm in (variant, control))
        first, second = (
            msgspec.structs.replace(arm, variance=found) for arm, found in zip((variant, control), least, strict=True)
        )
    return first, second


def _spread(variant: Estimate, control: Estimate) -> tuple[Floats, Floats]:
    """Standard error of the difference, and its degrees of freedom."""
    both = variant.variance + control.variance
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = variant.variance**2 / (variant.units - 1) + control.variance**2 / (control.units - 1)
        freedom = np.where(parts > 0, both**2 / parts, 1.0)
    return np.sqrt(both), freedom


def _certain(variant: Estimate, control: Estimate, error: Floats) -> Floats:
    """The p-value where nothing varies: no difference says nothing, and nor does one between constants."""
    return np.where(np.isnan(error) | np.isnan(variant.value - control.value), np.nan, 1.0)


def _difference(variant: Estimate, control: Estimate, error: Floats, width: Floats, p: Floats) -> Difference:
    value = variant.value - control.value
    varies = np.where(error > 0, width, np.nan)
    low, high = _quotient(variant, control, varies)
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = np.where(control.value > 0, variant.value / control.value - 1, np.nan)
    return Difference(
        value=value,
        low=value - varies * error,
        high=value + varies * error,
        error=error,
        lift=lift,
        lift_low=low,
        lift_high=high,
        p=p,
    )


def _quotient(variant: Estimate, control: Estimate, width: Floats) -> tuple[Floats, Floats]:
    """Of variant / control - 1: all q with (variant - q control)^2 <= width^2 (its variance), by Fieller (1954). It
    excludes 0 if and only if the interval of the difference does.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        a = control.value**2 - width**2 * control.variance
        b = variant.value * control.value
        c = variant.value**2 - width**2 * variant.variance
        root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
        sound = (a > 0) & (control.value > 0)
        low, high = (np.where(sound, (b + side * root) / a - 1, np.nan) for side in (-1.0, 1.0))
    return low, high
