"""The promises of the statistics, in a short form; the long one is tests/benchmarks/experiments.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.experiments.inference import interleaving, weighting
from tests.benchmarks import bandits, comparisons, rankings

if TYPE_CHECKING:
    from tests.benchmarks.promises import Promise


def assert_kept(promises: list[Promise]) -> None:
    assert [one for one in promises if not one.holds] == []


def test_equal_arms_are_told_apart_as_often_as_said_once_or_looking_100_times() -> None:
    assert_kept(comparisons.same_arms(3000, 20_000))


def test_the_same_holds_of_a_small_arm_in_which_little_happens() -> None:
    assert_kept(comparisons.same_small_arm(1500))


def test_the_same_holds_of_skewed_amounts_under_a_covariate() -> None:
    assert_kept(comparisons.same_amounts(1200))


def test_a_covariate_narrows_intervals_as_theory_says() -> None:
    assert_kept([comparisons.covariate(300)])


def test_a_split_of_51_to_49_is_found_and_an_even_one_hardly_ever_suspected() -> None:
    assert_kept(comparisons.uneven(2000))


def test_planned_experiments_have_the_power_that_was_promised() -> None:
    assert_kept(comparisons.planned(800))


def test_a_bandits_arms_are_told_without_bias_by_weighting() -> None:
    assert_kept(bandits.moving(150))
    assert_kept(bandits.still(100))


def test_interleaving_finds_the_better_ranker_with_a_tenth_of_the_views() -> None:
    assert_kept(rankings.interleaved(60))


def test_rankers_that_are_clicked_alike_are_told_apart_as_seldom_as_said() -> None:
    assert_kept(rankings.even_rankers(120))


def test_a_chance_that_is_none_is_refused() -> None:
    arm, ones = np.array([0, 1]), np.array([1.0, 1.0])
    for chance in (0.0, 1.5, np.nan):
        with pytest.raises(ValueError, match="a chance above 0"):
            weighting.weigh(arm, 2, np.array([0.5, chance]), ones)


def test_chances_move_only_within_an_arm() -> None:
    arm = np.array([0, 1, 0, 1])
    assert not weighting.moves(arm, np.array([0.2, 0.8, 0.2, 0.8]))
    assert weighting.moves(arm, np.array([0.2, 0.8, 0.3, 0.8]))


def test_a_team_draft_alternates_by_coin_and_skips_what_is_there() -> None:
    slate, teams = interleaving.draft(["a", "b", "c"], ["b", "a", "d"], 4, np.array([True, False]))
    assert slate == ["a", "b", "d", "c"]
    assert teams == [0, 1, 1, 0]


def test_every_ranker_brings_in_the_same_number_in_even_slates() -> None:
    generator = np.random.default_rng(1)
    names = [f"c{at}" for at in range(20)]
    for _ in range(50):
        first, second = (list(generator.permutation(names)) for _ in range(2))
        slate, teams = interleaving.draft(first, second, 8, generator.random(8) < 0.5)
        assert len(set(slate)) == 8
        assert sum(teams) == 4


def test_a_preference_counts_units_and_ties_decide_nothing() -> None:
    found = interleaving.prefer(np.array([[2, 0]] * 30 + [[0, 1]] * 10 + [[1, 1]] * 100))
    assert (found.first, found.second, found.tied) == (30, 10, 100)
    assert found.share == 0.75
    assert found.p == pytest.approx(0.00222, abs=1e-4)
    assert found.low < 0.75 < found.high
    assert interleaving.prefer(np.zeros((3, 2), np.int64)).p == 1.0
