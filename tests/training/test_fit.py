"""What a model makes of features: those that say nothing, those that may only raise, and where a candidate stood."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from features.ids import digest
from models.bundle import calibrate
from models.matrix import encoder
from models.signature import Feature, Signature
from training import fit
from training.evaluation import measure_auc, measure_ece, rank
from training.fit import Fitted, Options
from training.labels import TrainingError
from training.parts import Part, thin
from training.positions import estimate, number_places

NUMBERS = Signature(tuple(Feature(name) for name in ("price", "recency", "constant", "missing")))
SMALL = Options(trees=60, learning_rate=0.1)


def part(seed: int, lists: int = 400, length: int = 10) -> Part:
    """Lists of candidates whose chance rises with the price, by a level of their own, and falls with recency."""
    generator = np.random.default_rng(seed)
    price, recency = generator.random((2, lists * length))
    level = np.repeat(generator.normal(0.0, 1.0, lists), length)
    chance = 1.0 / (1.0 + np.exp(2.0 - level - 2.0 * price - np.sin(9.0 * price) + recency))
    columns = [price, recency, np.full(len(price), 3.0), np.full(len(price), np.nan)]
    return Part(
        matrix=np.column_stack(columns).astype(np.float32),
        rewarded=generator.random(len(price)) < chance,
        owner=np.repeat(np.arange(lists), length),
        extra={},
    )


def grow(options: Options = SMALL, train: Part | None = None, signature: Signature = NUMBERS) -> Fitted:
    return fit.fit(train or part(1), part(2), signature, options, 1.0)


def test_constant_and_wholly_missing_features_are_left_out_of_the_signature() -> None:
    assert grow().signature.names == ["price", "recency"]


def test_features_that_all_say_nothing_are_refused() -> None:
    still = part(1)
    still.matrix[:, :2] = 1.0
    with pytest.raises(TrainingError, match="no feature differs between the 4000 training rows"):
        grow(train=still)


@pytest.mark.parametrize("rewarded", [True, False])
def test_rewards_of_one_kind_are_refused(rewarded: bool) -> None:
    alike = msgspec.structs.replace(part(1), rewarded=np.full(4000, rewarded))
    with pytest.raises(TrainingError, match=r"training rows are (un)?rewarded: a model needs both kinds"):
        grow(train=alike)


def test_a_category_that_training_never_saw_counts_as_missing() -> None:
    known = Signature((Feature("candidate__category", "category", ("bags", "shoes")),))
    codes = encoder(known).encode(
        {"candidate__category": np.array([float(digest(it)) for it in ("shoes", "hats", "")])}
    )
    assert codes[0, 0] == 1.0
    assert np.isnan(codes[1:, 0]).all()


def test_a_declared_feature_only_raises_the_score() -> None:
    prices = np.column_stack([np.linspace(0.0, 1.0, 200), np.full(200, 0.5)]).astype(np.float32)
    free, bound = (grow(msgspec.structs.replace(SMALL, increasing=names)) for names in ((), ("price",)))
    assert (np.diff(fit.score(free.booster, prices)) < 0.0).any()
    assert (np.diff(fit.score(bound.booster, prices)) >= 0.0).all()
    falling = grow(msgspec.structs.replace(SMALL, decreasing=("price",)))
    assert (np.diff(fit.score(falling.booster, prices)) <= 0.0).all()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (Options(increasing=("prise",)), "no feature that could only raise or lower the score: prise"),
        (Options(increasing=("price",), decreasing=("price",)), "a score cannot both rise and fall with price"),
    ],
)
def test_declarations_that_make_no_sense_are_refused(options: Options, problem: str) -> None:
    with pytest.raises(TrainingError, match=problem):
        grow(options)


@pytest.mark.parametrize("objective", ["binary", "ranking"])
def test_the_same_seed_gives_the_same_trees(objective: str) -> None:
    texts = {grow(msgspec.structs.replace(SMALL, objective=objective)).booster.model_to_string() for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize("calibration", ["platt", "isotonic"])
def test_ranking_trees_follow_and_their_probabilities_stay_those_of_the_rewards(calibration: str) -> None:
    test = part(3, lists=1500)
    found = {}
    for objective in ("binary", "ranking"):
        options = msgspec.structs.replace(SMALL, objective=objective, calibration=calibration, patience=20)
        fitted = grow(options)
        score = fit.score(fitted.booster, test.matrix[:, :2])
        probability = calibrate(fitted.calibration, score)
        ndcg = np.nanmean(rank(score, test.rewarded, test.owner, 1500, seed=0).ndcg)
        found[objective] = (ndcg, measure_ece(probability, test.rewarded), fitted.booster.num_trees())
    assert found["ranking"][2] > found["binary"][2]
    assert found["ranking"][0] > found["binary"][0] - 0.003
    assert found["ranking"][1] < 0.04


def shown(seed: int, lists: int = 4000) -> tuple[Part, np.ndarray]:
    """Slates of four that a policy ordered by a part of what counts: seen half as often from place to place.

    (rows, the truth of each)
    """
    generator = np.random.default_rng(seed)
    taste, other = generator.normal(size=(2, lists, 4))
    order = np.argsort(np.argsort(-(taste - other + generator.normal(size=(lists, 4)))))
    truth = 1.0 / (1.0 + np.exp(1.5 - taste - 0.7 * other))
    rewarded = (generator.random((lists, 4)) < truth * 0.5**order).ravel()
    owner = np.repeat(np.arange(lists), 4)
    rows = Part(
        matrix=np.column_stack([taste.ravel(), other.ravel()]).astype(np.float32),
        rewarded=rewarded,
        owner=owner,
        extra={},
        place=number_places(["grid"] * lists, owner, order.ravel() + 1),
    )
    return rows, truth.ravel()


def test_where_a_candidate_stood_explains_its_clicks_and_does_not_rank_it() -> None:
    train, validation = shown(1)[0], shown(2)[0]
    test, truth = shown(3)
    signature = Signature((Feature("taste"), Feature("other")))
    knowing = fit.fit(train, validation, signature, SMALL, 1.0)
    blind = [msgspec.structs.replace(each, place=None) for each in (train, validation)]
    ignoring = fit.fit(blind[0], blind[1], signature, SMALL, 1.0)
    assert knowing.signature.names == ["taste", "other"]
    liked = truth > np.median(truth)
    scores = [fit.score(each.booster, test.matrix) for each in (knowing, ignoring)]
    better, worse = (measure_auc(score, liked) for score in scores)
    assert better > worse + 0.02
    assert calibrate(knowing.calibration, scores[0]).mean() == pytest.approx(test.rewarded.mean(), rel=0.08)


def test_terms_of_positions_fall_as_they_are_seen_less_and_have_mean_zero_in_a_placement() -> None:
    rows, _ = shown(1)
    assert rows.place is not None
    parameters = {"objective": "binary", "num_leaves": 15, "seed": 0, "num_threads": 1, "verbosity": -1}
    terms = estimate(rows.matrix, rows.rewarded, np.ones(16_000), rows.place, parameters, [])
    assert (np.diff(terms.values) < -0.4).all()
    assert terms.of(rows.place).mean() == pytest.approx(0.0, abs=1e-9)
    assert terms.of(rows.place[:1] + 50).tolist() == [0.0]  # a position that training never saw


def test_placements_of_one_position_have_no_terms() -> None:
    rows, _ = shown(1, lists=500)
    first = np.repeat(number_places(["hero"], np.zeros(1, np.int64), np.ones(1, np.int64)), 2000)
    terms = estimate(rows.matrix, rows.rewarded, np.ones(2000), first, {"seed": 0}, [])
    assert terms.of(first).tolist() == [0.0] * 2000


def test_thinned_negatives_count_for_those_that_were_left_out() -> None:
    rows, test = part(1, lists=1500), part(3, lists=800)
    keep = thin(rows.rewarded, 0.25, seed=0)
    assert keep[rows.rewarded].all()
    assert keep[~rows.rewarded].mean() == pytest.approx(0.25, abs=0.03)
    kept = Part(matrix=rows.matrix[keep], rewarded=rows.rewarded[keep], owner=rows.owner[keep], extra={})
    levels = []
    for share in (0.25, 1.0):
        # By the raw scores: calibration would put right what the weights did not.
        booster = fit.fit(kept, part(2), NUMBERS, SMALL, share).booster
        levels.append((1.0 / (1.0 + np.exp(-fit.score(booster, test.matrix[:, :2])))).mean())
    assert levels[0] == pytest.approx(rows.rewarded.mean(), rel=0.1)
    assert levels[1] > 1.3 * rows.rewarded.mean()
