"""Intervals of the lift curve and of the calibration error: what customers drawn anew give, and how often they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.curves import SHARES, enclose_ece, mark_lift
from training.evaluation import curve_lift, measure_ece
from training.intervals import enclose, weigh

if TYPE_CHECKING:
    from training.labels import Flags, Floats, Ints


def draw(seed: int, units: int, most: int = 9) -> tuple[Floats, Flags, Ints]:
    """(probability, rewarded, unit) of customers with some rows each, of whom some are rewarded more than others."""
    generator = np.random.default_rng(seed)
    unit = np.repeat(np.arange(units), generator.integers(1, most, units))
    probability = np.clip(generator.beta(2.0, 12.0, units)[unit] * generator.uniform(0.4, 1.6, len(unit)), 0.001, 0.9)
    return probability, generator.random(len(unit)) < probability, unit


def test_the_marks_stand_on_the_lift_curve() -> None:
    probability, rewarded, unit = draw(1, 700)
    for score in (probability, np.round(probability, 1), np.zeros(len(probability))):
        marks = mark_lift(score, rewarded, unit, 700, seed=0)
        curve = curve_lift(score, rewarded)
        assert [mark.share for mark in marks] == list(SHARES)
        for mark in marks:
            at = round(mark.share * 100) - 1
            assert mark.found.value == pytest.approx(curve.found[at])
            assert mark.lift.value == pytest.approx(curve.lift[at])
            assert mark.found.low <= mark.found.value <= mark.found.high
            assert mark.lift.high == pytest.approx(mark.found.high / mark.share)


def test_an_interval_of_the_lift_is_that_of_curves_of_customers_drawn_anew() -> None:
    probability, rewarded, unit = draw(2, 300)
    score = np.round(probability, 1)
    curves = []
    for weights in np.concatenate(list(weigh(300, 5))):
        times = weights[unit].astype(int)
        curves.append(curve_lift(np.repeat(score, times), np.repeat(rewarded, times)).found)
    for mark in mark_lift(score, rewarded, unit, 300, seed=5):
        naive = enclose(0.0, np.array(curves)[:, round(mark.share * 100) - 1])
        assert (mark.found.low, mark.found.high) == pytest.approx((naive.low, naive.high), abs=0.01)


def test_the_intervals_of_the_lift_hold_the_truth_as_often_as_they_say() -> None:
    held = np.zeros(len(SHARES))
    probability, rewarded, _ = draw(3, 400_000)
    truth = np.interp(SHARES, curve_lift(probability, rewarded).share, curve_lift(probability, rewarded).found)
    truth[0] = curve_lift(probability, rewarded).found[0]
    for seed in range(200):
        chance, hits, unit = draw(1000 + seed, 900)
        marks = mark_lift(chance, hits, unit, 900, seed)
        held += [mark.found.low <= true <= mark.found.high for mark, true in zip(marks, truth, strict=True)]
    assert ((held / 200 > 0.9) & (held / 200 <= 0.99)).all(), held / 200


def test_a_calibration_error_lies_in_its_interval_which_narrows_with_customers() -> None:
    widths = []
    for units in (300, 3000, 30_000):
        probability, rewarded, unit = draw(4, units)
        told = probability * 1.3
        error = enclose_ece(told, rewarded, unit, units, seed=1)
        assert error.value == pytest.approx(measure_ece(told, rewarded))
        assert 0.0 <= error.low <= error.value <= error.high
        widths.append(error.high - error.low)
    assert widths[0] > 2.0 * widths[1] > 4.0 * widths[2]
    error = enclose_ece(told, rewarded, unit, units, seed=1)
    true = float(np.mean(np.abs(probability * 0.3)))
    assert error.low < true < error.high


def test_of_nothing_rewarded_no_curve_is_told() -> None:
    assert mark_lift(np.arange(5.0), np.zeros(5, np.bool_), np.arange(5), 5, seed=0) == []
    assert enclose_ece(np.full(5, 0.1), np.zeros(5, np.bool_), np.arange(5), 5, seed=0).value == pytest.approx(0.1)
