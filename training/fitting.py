"""What a fit is asked for, what it is made of and what it gives; the parameters of its trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from training.labels import TrainingError

if TYPE_CHECKING:
    import lightgbm

    from models.bundle import Calibration
    from models.signature import Signature
    from training.labels import Flags, Floats, Ints
    from training.parts import Matrix, Part
    from training.positions import Terms
    from training.search import Found
    from training.values import Valued

THREADS, ROWS_A_THREAD = 2, 50_000
"""A function of the rows alone, not of the machine: sums differ in the last bits by the number of threads."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    trees: int = 400
    leaves: int = 31
    learning_rate: float = 0.05
    patience: int = 40
    """Trees without a better validation loss before training stops."""
    negatives: float | None = None
    """Share of the unrewarded training rows that is kept, each for 1 / share of them; None: what trains fast."""
    seed: int = 0
    objective: Literal["binary", "ranking"] = "binary"
    """`ranking` lets trees of LambdaMART follow those that predict, which lifts the best to the top."""
    calibration: Literal["platt", "isotonic"] = "platt"
    increasing: tuple[str, ...] = ()
    """Features that never lower the score as they grow, all else alike."""
    decreasing: tuple[str, ...] = ()
    smallest_leaf: int | None = None
    """Fewest training rows of a leaf; None: by their number."""
    feature_share: float = 0.5
    """Of the features that each tree is grown on."""
    row_share: float = 0.8
    ridge: float = 5.0
    """L2 penalty of what leaves say."""


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    booster: lightgbm.Booster
    signature: Signature
    calibration: Calibration
    calibration_rewards: int
    """Rewarded rows that it was fitted on."""
    parameters: dict[str, Any]
    losses: dict[str, list[float]]
    """Part -> log loss by tree."""
    terms: Terms
    """What places on the page do to a candidate's chance."""
    value: Valued | None = None
    """What a reward brings, where that was asked for."""
    search: Found | None = None
    """How the parameters were found; None: they were given."""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a fit, as far as they do not depend on its parameters."""

    train: Part
    validation: Part
    signature: Signature
    """Of the features that differ between rows."""
    columns: Ints
    """Those of the parts that the signature names."""
    constraints: dict[str, int]
    weight: Floats
    share: float
    base: float
    """Log-odds of the mean reward."""


def constrain(signature: Signature, options: Options) -> dict[str, int]:
    """1 or -1 of each feature that only raises or only lowers the score. Raises TrainingError for a name that is no
    number among the features.
    """
    signs = {**dict.fromkeys(options.increasing, 1), **dict.fromkeys(options.decreasing, -1)}
    numbers = {feature.name for feature in signature.features if feature.kind == "number"}
    if unknown := sorted(signs.keys() - numbers):
        raise TrainingError(f"no feature that could only raise or lower the score: {', '.join(unknown)}")
    if both := sorted({*options.increasing} & {*options.decreasing}):
        raise TrainingError(f"a score cannot both rise and fall with {', '.join(both)}")
    return signs


def threads(rows: int) -> int:
    return max(1, min(THREADS, rows // ROWS_A_THREAD))


def varies(matrix: Matrix) -> Flags:
    """Columns with at least two different values, a missing one counting as a value."""
    varies = np.empty(matrix.shape[1], np.bool_)
    for at in range(matrix.shape[1]):
        column = matrix[:, at]
        missing = np.isnan(column)
        present = column[~missing]
        varies[at] = len(present) > 0 and (bool(missing.any()) or bool(present.min() < present.max()))
    return varies


def parameterise(rows: Rows, options: Options) -> dict[str, Any]:
    parameters = describe(options, len(rows.train.rewarded))
    if rows.constraints:
        parameters["monotone_constraints"] = [rows.constraints.get(name, 0) for name in rows.signature.names]
    return parameters


def smallest_leaf(rows: int) -> int:
    """Fewest rows of a leaf, of so many training rows, where nobody says otherwise."""
    return max(5, min(300, rows // 400))


def describe(options: Options, rows: int) -> dict[str, Any]:
    """LightGBM's parameters."""
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": options.learning_rate,
        "num_leaves": options.leaves,
        "min_data_in_leaf": options.smallest_leaf or smallest_leaf(rows),
        "feature_fraction": options.feature_share,
        "bagging_fraction": options.row_share,
        "bagging_freq": 1,
        "lambda_l2": options.ridge,
        "max_bin": 255,
        "cat_smooth": 50.0,
        "seed": options.seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": threads(rows),
        "verbosity": -1,
    }
