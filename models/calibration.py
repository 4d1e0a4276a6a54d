"""Raw scores -> probabilities, fitted on rows that the model was not trained on.

Platt scaling (Platt 1999, Probabilistic outputs for support vector machines): strictly increasing, so that it never
ties what the model ranked. It is handed on as knots that are interpolated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.bundle import Calibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

KNOTS = 401
FURTHEST = 12.0
"""Log-odds at the outermost knots: probabilities of 6e-6 and its complement."""
STEPS, TOLERANCE = 50, 1e-10
SMALLEST_SLOPE = 0.05
SMOOTHING = 1.0
"""Rows of the mean rate that each block of an isotonic fit is given."""


def fit(raw: Floats, rewarded: NDArray[np.bool_]) -> Calibration:
    """P(reward) = sigmoid(slope x raw + intercept) by maximum likelihood with Platt's smoothed targets (his eq. 1)."""
    slope, intercept = _fit_logistic(raw, rewarded)
    log_odds = np.linspace(-FURTHEST, FURTHEST, KNOTS)
    probability = _sigmoid(log_odds)
    return Calibration(tuple(((log_odds - intercept) / slope).tolist()), tuple(probability.tolist()))


def fit_isotonic(raw: Floats, rewarded: NDArray[np.bool_]) -> Calibration:
    """The rising step function nearest to the rewards (pool adjacent violators: Zadrozny and Elkan 2002, section 3.2),
    its blocks' means joined by lines. For many rows: it ties less than steps would, and follows no shape.
    """
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(raw, kind="stable")
    level = np.asarray(isotonic_regression(rewarded[order].astype(np.float64), y_min=0.0, y_max=1.0))
    starts = np.flatnonzero(np.concatenate([[True], np.diff(level) > 0.0]))
    rows = np.diff([*starts, len(order)])
    centre = np.add.reduceat(raw[order], starts) / rows
    hits = level[starts] * rows
    probability = (hits + SMOOTHING * rewarded.mean()) / (rows + SMOOTHING)  # a block of few rows is not sure
    return Calibration(tuple(centre.tolist()), tuple(np.maximum.accumulate(probability).tolist()))


def _fit_logistic(raw: Floats, rewarded: NDArray[np.bool_]) -> tuple[float, float]:
    hits = int(rewarded.sum())
    misses = len(rewarded) - hits
    target = np.where(rewarded, (hits + 1.0) / (hits + 2.0), 1.0 / (misses + 2.0))
    ones = np.ones((len(raw), 1))
    slope, intercept = _climb(np.column_stack([raw, ones]), target, np.zeros(len(raw)))
    if slope < SMALLEST_SLOPE:
        # A lower one would turn the ranking around: such a model knows nothing, and says the mean.
        slope = SMALLEST_SLOPE
        (intercept,) = _climb(ones, target, slope * raw)
    return float(slope), float(intercept)


def _climb(design: Floats, target: Floats, offset: Floats) -> Floats:
    """Weights of a logistic regression, by Newton's method with damped steps: far off, full ones would overshoot."""
    weights = np.zeros(design.shape[1])
    for _ in range(STEPS):
        probability = _sigmoid(design @ weights + offset)
        hessian = (design * (probability * (1.0 - probability))[:, None]).T @ design
        step = np.linalg.solve(hessian + np.eye(len(weights)) * 1e-9, design.T @ (target - probability))
        furthest = float(np.abs(step).max())
        weights = weights + step * min(1.0, 2.0 / max(furthest, 1e-300))
        if furthest < TOLERANCE:
            break
    return weights


def _sigmoid(values: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -40.0, 40.0)))


METHODS = {"platt": fit, "isotonic": fit_isotonic}
