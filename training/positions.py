"""What a place on the page does to a candidate's chance, told apart from the candidate: known to training alone.

Log-odds of a reward are the model's score plus a term of the position. Trees and terms are fitted in turns (a partially
linear logistic model; Severini and Staniswalis 1994, section 2). The terms of a placement have mean zero over its rows,
so that the score alone is right on average where positions are not known yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np

from features.ids import digest

if TYPE_CHECKING:
    from training.labels import Flags, Floats, Ints
    from training.parts import Matrix

MOST_POSITIONS = 64
ROUNDS, TREES, RATE = 4, 40, 0.1
ENOUGH_ROWS = 200_000
STEPS = 12
RIDGE = 0.5
"""Of the terms: a place of few rewards stays near the others."""


class Terms(msgspec.Struct, frozen=True):
    """Log-odds by place; those of other places are 0."""

    places: Ints
    values: Floats

    def of(self, place: Ints) -> Floats:
        """The term of each row (r,)."""
        if not len(self.places):
            return np.zeros(len(place))
        at = np.minimum(np.searchsorted(self.places, place), len(self.places) - 1)
        return np.where(self.places[at] == place, self.values[at], 0.0)


def number_places(placement: list[str], owner: Ints, position: Ints) -> Ints:
    """One number for each placement (of each query) and position (of each row)."""
    digests = np.array([digest(text) for text in placement], np.int64)
    return digests[owner] * MOST_POSITIONS + np.minimum(position, MOST_POSITIONS - 1)


def estimate(
    matrix: Matrix,
    rewarded: Flags,
    weight: Floats,
    place: Ints | None,
    parameters: dict[str, Any],
    categorical: list[int],
) -> Terms:
    """Terms of all places; none where each placement has one position."""
    if place is None:
        return Terms(np.empty(0, np.int64), np.empty(0))
    places, of = np.unique(place, return_inverse=True)
    groups, group = np.unique(places // MOST_POSITIONS, return_inverse=True)
    if len(groups) == len(places):
        return Terms(np.empty(0, np.int64), np.empty(0))
    rows = np.random.default_rng(parameters["seed"]).permutation(len(place))[:ENOUGH_ROWS]
    rows.sort()
    matrix, hits, weight, of = matrix[rows], rewarded[rows].astype(np.float64), weight[rows], of[rows]
    share = np.bincount(of, weight, minlength=len(places))
    values, base = np.zeros(len(places)), log_odds(hits, weight)
    parameters = parameters | {"learning_rate": RATE}
    for _ in range(ROUNDS):
        table = lightgbm.Dataset(
            matrix,
            hits,
            weight=weight,
            init_score=base + values[of],
            categorical_feature=categorical,
            params=parameters,
        )
        raw = base + np.asarray(lightgbm.train(parameters, table, TREES).predict(matrix, raw_score=True))
        values = _fit(raw, hits, weight, of, values)
        means = np.bincount(group, share * values) / np.bincount(group, share)
        values -= means[group]
    return Terms(places, values)


def log_odds(hits: Floats | Flags, weight: Floats) -> float:
    """Of the mean reward: where boosting begins, which LightGBM leaves to whoever gives it scores to begin with."""
    mean = float(np.average(hits, weights=weight))
    return float(np.log(mean / (1.0 - mean)))


def lift(booster: lightgbm.Booster, base: float) -> lightgbm.Booster:
    """The model with `base` added to every score, in the leaves of its first tree."""
    for leaf in range(booster.dump_model(num_iteration=1)["tree_info"][0]["num_leaves"]):
        booster.set_leaf_output(0, leaf, booster.get_leaf_output(0, leaf) + base)
    return lightgbm.Booster(model_str=booster.model_to_string())


def _fit(raw: Floats, hits: Floats, weight: Floats, of: Ints, values: Floats) -> Floats:
    """The terms that make each place's mean right, given the scores."""
    for _ in range(STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(raw + values[of], -30.0, 30.0)))
        slope = np.bincount(of, weight * (hits - chance), minlength=len(values))
        curve = np.bincount(of, weight * chance * (1.0 - chance), minlength=len(values))
        values = values + np.clip((slope - RIDGE * values) / (curve + RIDGE), -1.0, 1.0)
    return values
