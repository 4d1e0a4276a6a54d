"""Raw scores into probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models import calibration
from models.bundle import calibrate


def draws(slope: float, intercept: float, size: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    raw = generator.normal(-2.0, 1.5, size)
    return raw, generator.random(size) < 1.0 / (1.0 + np.exp(-(slope * raw + intercept)))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1.0), (1.8, 2.0)])
def test_probabilities_are_those_of_a_logistic_regression(slope: float, intercept: float) -> None:
    raw, rewarded = draws(slope, intercept)
    plain = LogisticRegression(C=1e9).fit(raw[:, None], rewarded).predict_proba(raw[:, None])[:, 1]
    assert calibrate(calibration.fit(raw, rewarded), raw) == pytest.approx(plain, abs=1e-3)


def test_the_order_of_scores_is_kept_without_new_ties() -> None:
    raw, rewarded = draws(1.0, 0.0)
    apart = np.linspace(raw.min(), raw.max(), 5000)
    assert (np.diff(calibrate(calibration.fit(raw, rewarded), apart)) > 0).all()


def test_scores_that_say_nothing_give_the_mean() -> None:
    rewarded = np.arange(1000) % 10 == 0
    fitted = calibration.fit(np.full(1000, 0.7), rewarded)
    assert calibrate(fitted, np.full(1, 0.7))[0] == pytest.approx(0.1, abs=0.01)


def test_a_score_that_points_the_wrong_way_is_not_turned_around() -> None:
    raw, rewarded = draws(-1.0, -2.0)
    fitted = calibration.fit(raw, rewarded)
    assert (np.diff(calibrate(fitted, np.array([-2.0, 0.0, 2.0]))) > 0).all()
    assert calibrate(fitted, raw).mean() == pytest.approx(rewarded.mean(), rel=0.1)


def test_perfectly_parted_scores_stay_finite() -> None:
    raw = np.concatenate([np.full(50, -3.0), np.full(50, 3.0)])
    fitted = calibration.fit(raw, raw > 0)
    assert np.isfinite(fitted.raw).all()
    low, high = calibrate(fitted, np.array([-3.0, 3.0]))
    assert 0.0 < low < 0.1 < 0.9 < high < 1.0
