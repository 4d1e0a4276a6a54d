"""The model: a matrix of the training rows, LightGBM stopped early by the validation rows, calibrated on the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np
import pyarrow.dataset as pads

from features.aggregates.declared import VIEWS
from models import calibration
from models.matrix import encoder
from models.signature import Feature, Signature, fillable
from training.labels import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from features.home import Home
    from models.bundle import Calibration
    from training.dataset import Source
    from training.labels import Flags, Floats, Queries

    Matrix = NDArray[np.float32]

THREADS, ROWS_A_THREAD = 2, 50_000
"""A function of the rows alone, not of the machine: sums differ in the last bits by the number of threads."""
ENOUGH_ROWS = 700_000
"""Training rows beyond which unrewarded ones are thinned out: more cost time and gain nothing that can be measured."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    trees: int = 400
    leaves: int = 31
    learning_rate: float = 0.05
    patience: int = 40
    """Trees without a better validation loss before training stops."""
    negatives: float | None = None
    """Share of the unrewarded training rows that is kept, each for 1 / share of them; None: see ENOUGH_ROWS."""
    seed: int = 0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one part of the split: features in the signature's order, and further columns for baselines."""

    matrix: Matrix
    rewarded: Flags
    extra: dict[str, Floats]


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    booster: lightgbm.Booster
    signature: Signature
    calibration: Calibration
    rows: int
    """Training rows."""
    parameters: dict[str, Any]
    losses: dict[str, list[float]]
    """Part -> log loss by tree."""


def describe(home: Home, queries: Queries) -> Signature:
    """All features that can be filled. Identifiers of candidates are left out: keyed features say more with less."""
    table = pads.dataset(home.history / "attributes", format="parquet").to_table(["category", "kind"])
    categories = _known(table["category"].unique().to_pylist())
    vocabularies = {
        "candidate__category": categories,
        "candidate__kind": _known(table["kind"].unique().to_pylist()),
        "context__device": _known(queries.device),
        "context__placement": _known(queries.placement),
    }
    vocabularies |= {
        name: categories
        for aggregates in VIEWS.values()
        for aggregate in aggregates
        if aggregate.kind.categorical and aggregate.value == "category"
        for name in aggregate.outputs
    }
    features = []
    for name, kind in fillable().items():
        if kind == "number":
            features.append(Feature(name))
        elif name in vocabularies:
            features.append(Feature(name, kind, vocabularies[name]))
    return Signature(tuple(features))


def _known(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def gather(
    source: Source,
    queries: Queries,
    signature: Signature,
    keep: Flags | None = None,
    extra: tuple[str, ...] = (),
    progress: Callable[[int], None] = lambda _rows: None,
) -> Part:
    """The rows of `queries` (those where `keep` holds) as one matrix; `progress` is told rows done."""
    kept = np.ones(len(queries.owner), np.bool_) if keep is None else keep
    size = int(kept.sum())
    matrix = np.empty((size, len(signature.features)), np.float32)
    columns = {name: np.empty(size) for name in extra}
    encode = encoder(signature).encode
    at = 0
    for chunk in source.read(queries):
        inside = kept[chunk.rows]
        behind = at + int(inside.sum())
        features = {name: values[inside] for name, values in chunk.features.items()}
        if behind > at:
            matrix[at:behind] = encode(features)
            for name, column in columns.items():
                column[at:behind] = features[name]
        at = behind
        progress(chunk.rows.stop - chunk.rows.start)
    return Part(matrix=matrix, rewarded=queries.rewarded[kept], extra=columns)


def share_of_negatives(rewarded: Flags, options: Options) -> float:
    """The share of unrewarded rows to train on."""
    if options.negatives is not None:
        return options.negatives
    hits = int(rewarded.sum())
    return min(1.0, max(ENOUGH_ROWS - hits, hits) / max(len(rewarded) - hits, 1))


def thin(rewarded: Flags, share: float, seed: int) -> Flags:
    """Which rows to train on: all that were rewarded, and a `share` of the others."""
    return rewarded | (np.random.default_rng(seed).random(len(rewarded)) < share)


def fit(
    train: Part,
    validation: Part,
    signature: Signature,
    options: Options,
    share: float,
    progress: Callable[[int], None] = lambda _trees: None,
) -> Fitted:
    """`share` of the unrewarded rows are in `train`. Raises TrainingError when the labels of a part are all alike."""
    for name, part in (("training", train), ("validation", validation)):
        if part.rewarded.all() or not part.rewarded.any():
            alike = "rewarded" if part.rewarded.any() else "unrewarded"
            raise TrainingError(f"all {len(part.rewarded)} {name} rows are {alike}: a model needs both kinds")
    varying = np.flatnonzero(_varies(train.matrix))
    signature = Signature(tuple(signature.features[at] for at in varying.tolist()))
    parameters = _parameters(options, len(train.rewarded))
    weight = np.where(train.rewarded, 1.0, 1.0 / share)
    table = lightgbm.Dataset(
        train.matrix[:, varying],
        train.rewarded.astype(np.float32),
        weight=weight,
        feature_name=signature.names,
        categorical_feature=signature.categorical,
        params=parameters,
    )
    judge = table.create_valid(validation.matrix[:, varying], validation.rewarded.astype(np.float32))
    losses: dict[str, dict[str, list[float]]] = {}
    booster = lightgbm.train(
        parameters,
        table,
        num_boost_round=options.trees,
        valid_sets=[table, judge],
        valid_names=["train", "validation"],
        callbacks=[
            lightgbm.early_stopping(options.patience, verbose=False, first_metric_only=True),
            lightgbm.record_evaluation(losses),
            lambda environment: progress(environment.iteration + 1),
        ],
    )
    # As text and back: the very trees that the service will load, cut at the best iteration.
    booster = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
    raw = score(booster, validation.matrix[:, varying])
    return Fitted(
        booster=booster,
        signature=signature,
        calibration=calibration.fit(raw, validation.rewarded),
        rows=len(train.rewarded),
        parameters=parameters | {"trees": booster.num_trees(), "negatives": share},
        losses={part: values["binary_logloss"] for part, values in losses.items()},
    )


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
