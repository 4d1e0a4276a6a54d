"""Compiled trees score as LightGBM does, to the bit; what they do not know is left to LightGBM."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tree_text import parse
from models.trees import probe


def grow(seed: int, **parameters: Any) -> lightgbm.Booster:
    """A model of numbers with gaps and zeros, and of two categories, whose rows have four features."""
    chance = np.random.default_rng(seed)
    rows = chance.normal(size=(600, 4))
    rows[chance.random((600, 4)) < 0.2] = 0.0
    rows[chance.random((600, 4)) < 0.1] = np.nan
    rows[:, 2] = chance.integers(0, 70, 600)
    rows[:, 3] = chance.integers(0, 5, 600)
    label = (np.nan_to_num(rows[:, 0]) + (rows[:, 2] % 3 == 1) + chance.normal(size=600) > 0).astype(float)
    fixed = {"objective": "binary", "num_leaves": 9, "min_data_in_leaf": 3, "min_data_per_group": 2, "verbose": -1}
    chosen = {**fixed, "num_threads": 1, **parameters}
    rounds = chosen.pop("rounds", 12)
    data = lightgbm.Dataset(rows, label, categorical_feature=[2, 3], params=chosen)
    return lightgbm.train(chosen, data, rounds)


MODELS: list[dict[str, Any]] = [
    {},
    {"zero_as_missing": True},
    {"use_missing": False},
    {"objective": "regression", "boost_from_average": True},
    {"rounds": 1, "min_data_in_leaf": 600},
    {"num_leaves": 64, "rounds": 3},
    {"max_cat_to_onehot": 1, "cat_smooth": 0.1},
]


def expected(model: lightgbm.Booster, rows: np.ndarray) -> list[float]:
    scores: list[float] = np.asarray(model.predict(rows, raw_score=True, num_threads=1)).tolist()
    return scores


@pytest.mark.parametrize("parameters", MODELS, ids=lambda given: " ".join(given) or "plain")
def test_the_trees_score_as_lightgbm_at_every_edge(parameters: dict[str, Any]) -> None:
    model = grow(3, **parameters)
    trees = parse(model.model_to_string())
    assert trees is not None
    rows = probe(trees, 4, 3000)
    assert trees.score(np.ascontiguousarray(rows.T)).tolist() == expected(model, rows)


numbers = st.one_of(
    st.floats(width=64), st.sampled_from([0.0, -0.0, 1e-36, -1e-36, 1e-35, -0.5, 31.0, 32.0, 69.0, 1e9])
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(range(len(MODELS))),
    st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=6),
    st.sets(st.integers(0, 3)),
)
def test_any_rows_score_as_by_lightgbm_whichever_features_they_share(
    which: int, rows: list[list[float]], shared: set[int]
) -> None:
    model = GROWN[which]
    matrix = np.array(rows)
    matrix[:, 2:] = np.where(np.abs(matrix[:, 2:]) < 2**31, matrix[:, 2:], np.nan)  # no code is ever larger
    for at in shared:
        matrix[:, at] = matrix[0, at]
    trees = parse(model.model_to_string())
    assert trees is not None
    assert trees.score(np.ascontiguousarray(matrix.T)).tolist() == expected(model, matrix)


GROWN = [grow(7, **parameters) for parameters in MODELS]


UNKNOWN: dict[str, dict[str, Any]] = {
    "linear leaves": {"linear_tree": True},
    "a forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "large trees": {"num_leaves": 65, "min_data_in_leaf": 1},
    "classes": {"objective": "multiclass", "num_class": 2},
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_known_is_left_to_lightgbm(what: str) -> None:
    assert parse(grow(3, **UNKNOWN[what]).model_to_string()) is None


def test_a_tree_without_a_split_adds_its_one_leaf() -> None:
    model = grow(3, rounds=2, min_data_in_leaf=600)
    trees = parse(model.model_to_string())
    assert trees is not None
    assert len(trees.feature) == 0
    rows = np.zeros((3, 4))
    assert trees.score(np.ascontiguousarray(rows.T)).tolist() == expected(model, rows)
