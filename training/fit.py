"""The model: a matrix of the training rows, LightGBM stopped early by the validation rows, calibrated on the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import lightgbm
import msgspec
import numpy as np

from models import calibration
from models.signature import Signature
from training import positions, ranking
from training.labels import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.bundle import Calibration
    from training.labels import Flags, Floats
    from training.parts import Matrix, Part

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


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    booster: lightgbm.Booster
    signature: Signature
    calibration: Calibration
    calibration_rewards: int
    """Rewarded rows that it was fitted on."""
    parameters: dict[str, Any]
    losses: dict[str, list[float]]
    """Part -> log loss by tree."""


def fit(
    train: Part,
    validation: Part,
    signature: Signature,
    options: Options,
    share: float,
    progress: Callable[[int], None] = lambda _trees: None,
) -> Fitted:
    """`share` of the unrewarded rows are in `train`. Raises TrainingError when there is nothing to tell apart."""
    for name, part in (("training", train), ("validation", validation)):
        if part.rewarded.all() or not part.rewarded.any():
            alike = "rewarded" if part.rewarded.any() else "unrewarded"
            raise TrainingError(f"all {len(part.rewarded)} {name} rows are {alike}: a model needs both kinds")
    varying = np.flatnonzero(_varies(train.matrix))
    if not len(varying):
        raise TrainingError(f"no feature differs between the {len(train.rewarded)} training rows")
    constraints = constrain(signature, options)
    signature = Signature(tuple(signature.features[at] for at in varying.tolist()))
    parameters = _parameters(options, len(train.rewarded))
    if constraints:
        parameters["monotone_constraints"] = [constraints.get(name, 0) for name in signature.names]
    learning, weight = train.matrix[:, varying], np.where(train.rewarded, 1.0, 1.0 / share)
    base = positions.log_odds(train.rewarded, weight)
    terms = positions.estimate(learning, train.rewarded, weight, train.place, parameters, signature.categorical)
    table = lightgbm.Dataset(
        learning,
        train.rewarded.astype(np.float32),
        weight=weight,
        init_score=None if train.place is None else base + terms.of(train.place),
        feature_name=signature.names,
        categorical_feature=signature.categorical,
        params=parameters,
    )
    judging = validation.matrix[:, varying]
    judge = table.create_valid(
        judging,
        validation.rewarded.astype(np.float32),
        init_score=None if validation.place is None else base + terms.of(validation.place),
    )
    booster, losses = _grow(table, judge, parameters, options, progress)
    if train.place is not None:
        booster = positions.lift(booster, base)
    if options.objective == "ranking":
        booster = ranking.refine(booster, train, validation, varying, signature, parameters, options.patience)
    return Fitted(
        booster=booster,
        signature=signature,
        calibration=calibration.METHODS[options.calibration](score(booster, judging), validation.rewarded),
        calibration_rewards=int(validation.rewarded.sum()),
        parameters=parameters | {"trees": booster.num_trees(), "negatives": share, "rows": len(train.rewarded)},
        losses=losses,
    )


def _grow(
    table: lightgbm.Dataset,
    judge: lightgbm.Dataset,
    parameters: dict[str, Any],
    options: Options,
    progress: Callable[[int], None],
) -> tuple[lightgbm.Booster, dict[str, list[float]]]:
    """Trees until validation stops improving, and the log loss of each part by tree."""
    recorded: dict[str, dict[str, list[float]]] = {}
    booster = lightgbm.train(
        parameters,
        table,
        num_boost_round=options.trees,
        valid_sets=[table, judge],
        valid_names=["train", "validation"],
        callbacks=[
            lightgbm.early_stopping(options.patience, verbose=False),
            lightgbm.record_evaluation(recorded),
            lambda environment: progress(environment.iteration + 1),
        ],
    )
    # As text and back: the very trees that the service will load, cut at the best iteration.
    best = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
    return best, {part: values["binary_logloss"] for part, values in recorded.items()}


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


def score(booster: lightgbm.Booster, matrix: Matrix) -> Floats:
    """Raw scores (log-odds)."""
    return np.asarray(booster.predict(matrix, raw_score=True, num_threads=_threads(len(matrix))), np.float64)


def _threads(rows: int) -> int:
    return max(1, min(THREADS, rows // ROWS_A_THREAD))


def _varies(matrix: Matrix) -> Flags:
    """Columns with at least two different values, a missing one counting as a value."""
    varies = np.empty(matrix.shape[1], np.bool_)
    for at in range(matrix.shape[1]):
        column = matrix[:, at]
        missing = np.isnan(column)
        present = column[~missing]
        varies[at] = len(present) > 0 and (bool(missing.any()) or bool(present.min() < present.max()))
    return varies


def _parameters(options: Options, rows: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": options.learning_rate,
        "num_leaves": options.leaves,
        "min_data_in_leaf": max(5, min(300, rows // 400)),
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "max_bin": 255,
        "cat_smooth": 50.0,
        "seed": options.seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": _threads(rows),
        "verbosity": -1,
    }
