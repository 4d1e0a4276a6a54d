"""Whether units came to the arms as they were meant to: if not, nothing else of the experiment can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from service.experiments.inference.moments import Floats

ALARM = 0.001
"""The p-value below which it is said: an A/A test must hardly ever be stopped for it."""


def check_shares(units: ArrayLike, shares: ArrayLike, present: NDArray[np.bool_] | None = None) -> Floats:
    """p of Pearson's chi-square test of units (..., arms) against the shares meant; NaN without units or a second arm.

    Fabijan, Gupchup, Gupta, Omhover, Qin, Vermeer and Dmitriev (2019), Diagnosing Sample Ratio Mismatch, section 4.
    Where not all have as many arms, `present` says which are there.
    """
    from scipy import stats

    units, shares = np.broadcast_arrays(np.asarray(units, float), np.asarray(shares, float))
    there = np.ones(units.shape, np.bool_) if present is None else present
    shares = np.where(there, shares, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = units.sum(-1, keepdims=True, where=there) * shares / shares.sum(-1, keepdims=True)
        parts: NDArray[Any] = (units - expected) ** 2 / expected
    statistic = np.where(there, parts, 0.0).sum(-1)
    freedom = there.sum(-1) - 1
    found: Floats = np.where(freedom > 0, stats.chi2.sf(statistic, np.maximum(freedom, 1)), np.nan)
    return found


def check_chances(arm: NDArray[Any], chance: Floats, arms: int) -> float:
    """The same where each unit had its own chance of the arm that it got (a moving allocation): by inverse probability
    each arm stands for all units, and how far its sum may be from their number is known (Horvitz and Thompson 1952,
    equation 3). The least p of the arms, times their number.
    """
    from scipy import stats

    if not len(arm):
        return float("nan")
    weight = 1.0 / chance
    excess = np.bincount(arm, weight, arms) - len(arm)
    variance = np.bincount(arm, weight * (weight - 1.0), arms)
    certain = (variance == 0) & (np.bincount(arm, minlength=arms) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(certain, 0.0, np.abs(excess) / np.sqrt(variance))
    return float(min(1.0, arms * np.nanmin(2 * stats.norm.sf(np.where(np.isnan(z), np.inf, z)))))
