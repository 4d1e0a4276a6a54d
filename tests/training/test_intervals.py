"""Bootstrap over customers: what it draws, and what intervals come of it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from training.baselines import Scored
from training.comparison import judge
from training.evaluation import measure_auc
from training.intervals import enclose, number, resample, total, weigh
from training.labels import Queries
from training.metrics import AUC, ECE, LOSS, NDCG, RATIO, VALUE


def make_queries(seed: int = 0, customers: int = 80, each: int = 4, candidates: int = 20) -> Queries:
    """Queries in which a row's chance is a function of its customer and its place."""
    generator = np.random.default_rng(seed)
    size = customers * each
    owner = np.repeat(np.arange(size), candidates)
    candidate = np.tile(np.arange(candidates), size)
    chance = np.repeat(generator.beta(1, 6, size=size), candidates) * (1.0 + (candidate % 5 == 0))
    return Queries(
        kind="bootstrap",
        reward="Order Completed",
        customers=[f"c-{at % customers}" for at in range(size)],
        now=np.arange(size),
        customer_at=np.arange(size),
        candidate_at=np.arange(size),
        hour=np.zeros(size),
        weekday=np.zeros(size),
        device=[""] * size,
        referrer=[""] * size,
        placement=[""] * size,
        inline={},
        candidates=[f"p-{at}" for at in range(candidates)],
        owner=owner,
        candidate=candidate,
        rewarded=generator.random(len(owner)) < chance,
        popularity=np.full(len(owner), 1.0 / candidates),
    )


def test_every_replicate_draws_as_many_customers_as_there_are() -> None:
    blocks = list(weigh(50, seed=1, replicates=30))
    weights = np.concatenate(blocks)
    assert weights.shape == (30, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert np.array_equal(weights, np.concatenate(list(weigh(50, seed=1, replicates=30))))


def test_the_spread_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(2).normal(size=400)
    replicates = resample({"mean": total(values, np.arange(400), 400)}, 400, seed=3)["mean"]
    assert replicates.std() == pytest.approx(values.std() / 20.0, rel=0.15)
    assert replicates.mean() == pytest.approx(values.mean(), abs=0.02)


def test_missing_values_are_left_out() -> None:
    each = total(np.array([1.0, np.nan, 3.0]), np.array([0, 0, 1]), 2)
    assert each.above.tolist() == [1.0, 3.0]
    assert each.below.tolist() == [1.0, 1.0]


def test_customers_are_numbered_by_first_mention() -> None:
    numbers, units = number(["b", "a", "b"])
    assert numbers.tolist() == [0, 1, 0]
    assert units == 2


def test_the_interval_of_an_auc_is_close_to_that_of_recomputing_it() -> None:
    queries = make_queries()
    rows = len(queries.owner)
    score = queries.rewarded * 0.8 + np.random.default_rng(4).normal(size=rows)
    judged = judge(queries, np.ones(len(queries), np.bool_), Scored(name="model", score=score), [], seed=7)
    unit, units = number(queries.customers)
    of_row = unit[queries.owner]
    naive = []
    for weights in weigh(units, seed=7):
        for weight in weights:
            drawn = np.repeat(np.arange(rows), weight[of_row].astype(int))
            naive.append(measure_auc(score[drawn], queries.rewarded[drawn]))
    mine, theirs = judged.model.metrics[AUC], enclose(measure_auc(score, queries.rewarded), np.array(naive))
    assert mine.value == pytest.approx(theirs.value)
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_a_method_does_not_differ_from_itself_and_a_better_one_does() -> None:
    queries = make_queries()
    noise = np.random.default_rng(5).random(len(queries.owner))
    good = np.clip(queries.rewarded * 0.3 + noise * 0.2, 0.01, 0.99)
    model = Scored(name="model", score=good, probability=good)
    same = Scored(name="same", score=good, probability=good)
    random = Scored(name="random", score=noise)
    compared = judge(queries, np.ones(len(queries), np.bool_), model, [same, random], seed=1)
    for metric in (NDCG, AUC, LOSS, RATIO):
        difference = compared.difference(metric, compared.baselines[0])
        assert difference is not None
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    better = compared.difference(NDCG, compared.baselines[1])
    assert better is not None
    assert better.low > 0.2
    assert compared.difference(LOSS, compared.baselines[1]) is None


def test_new_and_returning_customers_are_told_apart() -> None:
    queries = make_queries()
    known = np.arange(len(queries)) % 2 == 0
    score = np.where(known[queries.owner], queries.rewarded.astype(float), -queries.rewarded.astype(float))
    compared = judge(queries, known, Scored(name="model", score=score), [], seed=1)
    assert compared.model.returning[NDCG] == pytest.approx(1.0)
    assert compared.model.new[NDCG] < 0.5


def test_slices_are_what_the_metrics_of_those_queries_alone_are() -> None:
    queries = make_queries()
    size = len(queries)
    placement = ["hero" if at % 3 else "grid" for at in range(size)]
    queries = msgspec.structs.replace(queries, placement=placement, device=["mobile"] * size)
    score = queries.rewarded * 0.5 + np.random.default_rng(6).normal(size=len(queries.owner))
    model = Scored(name="model", score=score, probability=1.0 / (1.0 + np.exp(-score)))
    known = np.arange(size) % 4 == 0
    compared = judge(queries, known, model, [], seed=1)
    found = {(it.attribute, it.value): it for it in compared.slices}
    groups = {("placement", "hero"), ("placement", "grid"), ("customer", "new"), ("customer", "returning")}
    assert set(found) == {("all", ""), *groups}
    assert found["all", ""].metrics == compared.model.metrics
    keep = np.array([text == "hero" for text in placement])
    rows = keep[queries.owner]
    part = Scored(name="model", score=score[rows], probability=1.0 / (1.0 + np.exp(-score[rows])))
    alone = judge(queries.select(keep), known[keep], part, [], seed=1).model
    hero = found["placement", "hero"]
    assert hero.queries == int(keep.sum())
    for metric in (AUC, LOSS, RATIO):
        assert hero.metrics[metric].value == pytest.approx(alone.metrics[metric].value)
        assert hero.metrics[metric].low == pytest.approx(alone.metrics[metric].low, rel=0.02)  # other draws
    assert alone.lift is not None
    assert np.array_equal(hero.lift.found, alone.lift.found)
    assert all(mark.lift.low <= mark.lift.value <= mark.lift.high for mark in hero.marks)
    assert hero.marks[3].lift.low > 1.0
    assert hero.metrics[ECE].low <= hero.metrics[ECE].value <= hero.metrics[ECE].high


def test_value_is_that_of_the_candidate_that_arbitration_would_put_first() -> None:
    queries = make_queries()
    worth = 1.0 + queries.candidate.astype(float)
    chance = np.random.default_rng(7).random(len(queries.owner))
    model = Scored(name="model", score=chance, probability=chance)
    compared = judge(queries, np.ones(len(queries), np.bool_), model, [Scored(name="by score", score=chance)], 1, worth)
    by_query = (chance * worth).reshape(-1, 20)
    earned = (queries.rewarded * worth).reshape(-1, 20)
    best = earned[np.arange(len(queries)), by_query.argmax(axis=1)]
    assert compared.model.metrics[VALUE].value == pytest.approx(best.mean())
    first = earned[np.arange(len(queries)), chance.reshape(-1, 20).argmax(axis=1)]
    assert compared.baselines[0].metrics[VALUE].value == pytest.approx(first.mean())
    assert compared.difference(VALUE, compared.baselines[0]) is not None
