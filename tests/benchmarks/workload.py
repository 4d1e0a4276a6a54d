"""What floor and rival are given alike: customers, candidates, feature names, a model of the promised size."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]

CUSTOMERS = 2_000
CANDIDATES = 100
CUSTOMER_FEATURES = 30
CANDIDATE_FEATURES = 15
FEATURES = CUSTOMER_FEATURES + CANDIDATE_FEATURES
TREES = 200
LEAVES = 31
ROWS = 8_000
"""That the model is trained on."""
LIMIT = 6
PLACEMENT = "home-grid"
GOVERNED = "home-governed"
"""As many candidates again, with rules, caps and a budget, and at most two of a category."""
SEED = 20_261_123

CUSTOMER_NAMES = [f"customer_feature_{number:02}" for number in range(CUSTOMER_FEATURES)]
CANDIDATE_NAMES = [f"candidate_feature_{number:02}" for number in range(CANDIDATE_FEATURES)]


def customer(number: int) -> str:
    return f"c-{number}"


def candidate(number: int) -> str:
    return f"o-{number}"


def governed(number: int) -> str:
    return f"g-{number}"


def decision(customer_id: str, deadline_ms: int | None = None, placement: str = PLACEMENT) -> str:
    """The body of a decision request; every subject gets the same bytes."""
    asked = {
        "customer_id": customer_id,
        "placements": [{"id": placement, "limit": LIMIT}],
        "context": {"page": {"path": "/"}, "device": "mobile", "locale": "en-GB"},
    }
    return json.dumps(asked if deadline_ms is None else asked | {"deadline_ms": deadline_ms})


def decisions(count: int = CUSTOMERS, deadline_ms: int | None = None, placement: str = PLACEMENT) -> list[str]:
    """Requests for customers in a shuffled order, the same at every call."""
    order = np.random.default_rng(SEED).permutation(CUSTOMERS)
    return [decision(customer(int(order[number % CUSTOMERS])), deadline_ms, placement) for number in range(count)]


def document() -> str:
    """About 5 KB of JSON, for the choice of the server."""
    line = {"id": "o-1234", "score": 0.12345, "content": {"title": "Something for the kitchen", "cta": "Look inside"}}
    return json.dumps({"lines": [line] * 44})


def table(rows: int, columns: int, seed: int) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, columns))


def grow(names: list[str], features: Matrix | None = None, categorical: list[int] | None = None) -> str:
    """The text of a LightGBM model of exactly TREES x LEAVES on these features; its labels are noise.

    Raises RuntimeError if a tree has fewer leaves.
    """
    import lightgbm

    if features is None:
        features = table(ROWS, len(names), SEED)
    labels = np.random.default_rng(SEED + 1).random(len(features)) < 0.1
    parameters = {"objective": "binary", "num_leaves": LEAVES, "min_data_in_leaf": 5, "verbosity": -1, "seed": SEED}
    data = lightgbm.Dataset(features, labels, feature_name=names, categorical_feature=categorical or [])
    booster = lightgbm.train(parameters | {"num_threads": 1}, data, num_boost_round=TREES)
    shape = [tree["num_leaves"] for tree in booster.dump_model()["tree_info"]]
    if shape != [LEAVES] * TREES:
        raise RuntimeError(f"the model has {len(shape)} trees of {min(shape)} to {max(shape)} leaves")
    return booster.model_to_string()
