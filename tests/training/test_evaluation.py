"""Metrics against scikit-learn and naive computations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from training.evaluation import bin_reliability, curve_lift, earn, losses, measure_auc, measure_ece, place, rank

if TYPE_CHECKING:
    from training.labels import Flags, Floats, Ints


def queries(seed: int, count: int = 60, most: int = 30) -> tuple[Floats, Flags, Ints]:
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(count), generator.integers(11, most, count))
    score = generator.normal(size=len(owner))
    rewarded = generator.random(len(owner)) < 1.0 / (1.0 + np.exp(2.0 - score))
    rewarded[owner == 3] = False
    return score, rewarded, owner


def test_ranking_is_what_a_naive_sort_of_each_query_gives() -> None:
    score, rewarded, owner = queries(1)
    ranking = rank(score, rewarded, owner, 60, seed=0)
    for query in range(60):
        mine = owner == query
        if not rewarded[mine].any():
            assert np.isnan([ranking.ndcg[query], ranking.hit[query], ranking.reciprocal[query]]).all()
            continue
        ordered = rewarded[mine][np.argsort(-score[mine])]
        assert ranking.ndcg[query] == pytest.approx(ndcg_score([rewarded[mine]], [score[mine]], k=10))
        assert ranking.hit[query] == ordered[:10].any()
        assert ranking.reciprocal[query] == pytest.approx(1.0 / (1 + np.flatnonzero(ordered)[0]))


def test_a_query_without_rows_is_left_out() -> None:
    ranking = rank(np.array([2.0, 1.0]), np.array([True, False]), np.array([1, 1]), 3, seed=0)
    assert np.isnan(ranking.ndcg[[0, 2]]).all()
    assert ranking.ndcg[1] == 1.0


def test_ties_are_broken_at_random_and_not_in_favour_of_what_comes_first() -> None:
    owner = np.repeat(np.arange(2000), 40)
    rewarded = np.tile(np.arange(40) == 0, 2000)
    ranking = rank(np.zeros(len(owner)), rewarded, owner, 2000, seed=5)
    assert np.mean(ranking.hit) == pytest.approx(10 / 40, abs=0.04)
    again = rank(np.zeros(len(owner)), rewarded, owner, 2000, seed=5)
    assert np.array_equal(again.reciprocal, ranking.reciprocal)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_auc_counts_ties_half(rows: list[tuple[int, bool]]) -> None:
    score, rewarded = np.array([float(row[0]) for row in rows]), np.array([row[1] for row in rows])
    if rewarded.all() or not rewarded.any():
        assert np.isnan(place(score, rewarded)).all()
        return
    assert measure_auc(score, rewarded) == pytest.approx(roc_auc_score(rewarded, score))
    assert place(score, rewarded)[~rewarded].mean() == pytest.approx(measure_auc(score, rewarded))


def test_log_loss_is_the_mean_of_the_losses() -> None:
    score, rewarded, _ = queries(2)
    probability = 1.0 / (1.0 + np.exp(-score))
    assert losses(probability, rewarded).mean() == pytest.approx(log_loss(rewarded, probability))
    assert np.isfinite(losses(np.array([0.0, 1.0]), np.array([True, False]))).all()


def test_calibration_error_is_the_gap_between_predicted_and_actual_in_bins_of_equal_size() -> None:
    generator = np.random.default_rng(3)
    probability = generator.random(2000)
    rewarded = generator.random(2000) < probability**2
    order = np.argsort(probability)
    naive = np.mean([abs(probability[part].mean() - rewarded[part].mean()) for part in np.array_split(order, 20)])
    assert measure_ece(probability, rewarded) == pytest.approx(naive)
    assert bin_reliability(probability, rewarded).rows.sum() == 2000
    assert measure_ece(np.full(7, 0.5), np.array([True] * 7)) == pytest.approx(0.5)


def test_the_cut_of_the_ranking_can_be_chosen() -> None:
    score, rewarded, owner = queries(6)
    for k in (1, 5):
        ranking = rank(score, rewarded, owner, 60, seed=0, k=k)
        mine = owner == 8
        assert ranking.ndcg[8] == pytest.approx(ndcg_score([rewarded[mine]], [score[mine]], k=k))
        assert ranking.hit[8] == rewarded[mine][np.argsort(-score[mine])][:k].any()


def test_what_is_earned_is_what_the_first_candidate_brought() -> None:
    priority = np.array([0.2, 0.9, 0.5, 0.7, 0.1])
    earned = np.array([1.0, 5.0, 2.0, 0.0, 9.0])
    found = earn(priority, earned, np.array([0, 0, 0, 2, 2]), 4, seed=0)
    assert found[[0, 2]].tolist() == [5.0, 0.0]
    assert np.isnan(found[[1, 3]]).all()
    ties = earn(np.zeros(4000), np.tile([0.0, 1.0], 2000), np.repeat(np.arange(2000), 2), 2000, seed=1)
    assert ties.mean() == pytest.approx(0.5, abs=0.05)


def test_lift_is_the_share_found_over_the_share_looked_at() -> None:
    score, rewarded, _ = queries(4)
    curve = curve_lift(score, rewarded, points=10)
    order = np.argsort(-score)
    for share, found in zip(curve.share, curve.found, strict=True):
        looked_at = share * len(score)
        whole = int(looked_at)
        hits = rewarded[order][:whole].sum() + (looked_at - whole) * (rewarded[order][min(whole, len(score) - 1)])
        assert found == pytest.approx(hits / rewarded.sum())
    assert curve.lift[0] > 1.5
    assert curve.lift[-1] == pytest.approx(1.0)


def test_lift_of_a_score_that_says_nothing_is_one_whatever_the_order() -> None:
    rewarded = np.arange(100) < 20
    assert curve_lift(np.zeros(100), rewarded).lift == pytest.approx(1.0)
    assert np.isnan(curve_lift(np.zeros(5), np.zeros(5, np.bool_)).lift).all()
