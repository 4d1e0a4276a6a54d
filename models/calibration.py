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


def fit(raw: Floats, rewarded: NDArray[np.bool_]) -> Calibration:
    """P(reward) = sigmoid(slope x raw + intercept) by maximum likelihood with Platt's smoothed targets (his eq. 1)."""
    slope, intercept = _fit_logistic(raw, rewarded)
    log_odds = np.linspace(-FURTHEST, FURTHEST, KNOTS)
    probability = _sigmoid(log_odds)
    return Calibration(tuple(((log_odds - intercept) / slope).tolist()), tuple(probability.tolist()))


def _fit_logistic(raw: Floats, rewarded: NDArray[np.bool_]) -> tuple[float, float]:
    hits = int(rewarded.sum())
    misses = len(rewarded) - hits
    target = np.where(rewarded, (hits + 1.0) / (hits + 2.0), 1.0 / (misses + 2.0))
    design = np.stack([raw, np.ones_like(raw)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(STEPS):
        probability = _sigmoid(design @ weights)
        gradient = design.T @ (target - probability)
        hessian = (design * (probability * (1.0 - probability))[:, None]).T @ design + np.eye(2) * 1e-9
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 2.0 / float(np.abs(step).max()))  # Newton's step, damped: far off it would overshoot
        weights = weights + step
        if float(np.abs(step).max()) < TOLERANCE:
            break
    # A slope of naught or less would turn the ranking around: such a model knows nothing, and says the mean.
    return max(float(weights[0]), SMALLEST_SLOPE), float(weights[1])


def _sigmoid(values: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -40.0, 40.0)))
