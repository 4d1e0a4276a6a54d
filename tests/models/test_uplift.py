"""Effects, transformed outcomes and the Qini curve, where the truth is known and against naive computations."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.uplift import UpliftError, curve_qini, measure_effect, transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]


def run_test(generator: np.random.Generator, size: int = 4000, strength: float = 0.2) -> tuple[Floats, Floats, Flags]:
    """(what is known of each unit, outcome, treated); the effect grows with what is known, from 0 to `strength`."""
    known, treated = generator.random(size), generator.random(size) < 0.4
    outcome = (generator.random(size) < 0.1 + strength * known * treated).astype(float)
    return known, outcome, treated


def test_intervals_of_an_effect_hold_the_truth_in_92_to_98_percent_of_tests() -> None:
    generator, covered = np.random.default_rng(1), 0
    for _ in range(500):
        _, outcome, treated = run_test(generator, 1000)
        effect = measure_effect(outcome, treated)
        covered += effect.low <= 0.1 <= effect.high
    assert 0.92 <= covered / 500 <= 0.98


def test_the_mean_of_the_transformed_outcome_is_the_effect_anywhere() -> None:
    known, outcome, treated = run_test(np.random.default_rng(2), 400_000)
    changed = transform(outcome, treated, 0.4)
    for low, high, truth in ((0.0, 0.2, 0.02), (0.8, 1.0, 0.18)):
        assert changed[(known >= low) & (known < high)].mean() == pytest.approx(truth, abs=0.01)


def naive(score: list[float], outcome: list[float], treated: list[bool]) -> list[tuple[float, float]]:
    """(share treated, gain) after each group of equal scores."""
    points = [(0.0, 0.0)]
    ours = sum(treated)
    for level in sorted(set(score), reverse=True):
        inside = [at for at, value in enumerate(score) if value >= level]
        mine, others = [at for at in inside if treated[at]], [at for at in inside if not treated[at]]
        added = sum(outcome[at] for at in mine)
        if others:
            added -= sum(outcome[at] for at in others) * len(mine) / len(others)
        points.append((len(inside) / len(score), added / ours))
    return points


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 1)), min_size=6, max_size=60))
def test_the_curve_is_what_counting_gives(rows: list[tuple[int, bool, int]]) -> None:
    score, treated, outcome = [float(row[0]) for row in rows], [row[1] for row in rows], [float(row[2]) for row in rows]
    arrays = np.array(score), np.array(outcome), np.array(treated)
    if sum(treated) < 2 or len(rows) - sum(treated) < 2:
        with pytest.raises(UpliftError):
            curve_qini(*arrays)
        return
    found = curve_qini(*arrays, replicates=3)
    points = naive(score, outcome, treated)
    x, y = zip(*points, strict=True)
    assert found.gain == pytest.approx(np.interp(found.share, x, y))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2.0 for a, b in pairwise(points))
    assert found.area == pytest.approx(area - y[-1] / 2.0)
    assert found.gain[-1] == pytest.approx(measure_effect(arrays[1], arrays[2]).value)


def test_a_score_that_knows_is_told_from_one_that_does_not() -> None:
    known, outcome, treated = run_test(np.random.default_rng(3), 20_000)
    knowing = curve_qini(known, outcome, treated)
    assert knowing.shows_for_whom
    # The gain of the best share f is the integral of 0.2 x from 1 - f to 1; less the diagonal, its area is 1/60.
    assert knowing.area_low < 1 / 60 < knowing.area_high
    assert np.interp(0.5, knowing.share, knowing.gain) == pytest.approx(0.075, abs=0.01)
    assert not curve_qini(np.random.default_rng(4).random(20_000), outcome, treated).shows_for_whom


def test_a_score_that_knows_nothing_is_seldom_taken_for_one_that_does() -> None:
    generator, shown = np.random.default_rng(5), 0
    for _ in range(100):
        _, outcome, treated = run_test(generator, 500)
        shown += curve_qini(generator.random(500), outcome, treated, replicates=60, points=2).shows_for_whom
    assert shown / 100 < 0.09


def test_units_of_equal_score_give_no_curve_whatever_their_order() -> None:
    _, outcome, treated = run_test(np.random.default_rng(6))
    order = np.argsort(-outcome)
    found = curve_qini(np.zeros(4000), outcome[order], treated[order])
    assert found.area == pytest.approx(0.0, abs=1e-12)


def test_without_two_arms_there_is_no_effect() -> None:
    with pytest.raises(UpliftError, match="4 treated and 0 others"):
        measure_effect(np.ones(4), np.ones(4, np.bool_))
    with pytest.raises(UpliftError, match="both arms"):
        transform(np.ones(4), np.ones(4, np.bool_), 1.0)
