"""The model: a matrix of the training rows, LightGBM stopped early by the validation rows, calibrated on the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np

from models import calibration
from models.signature import Signature
from training import positions, ranking, values
from training.fitting import Fitted as Fitted
from training.fitting import Options as Options
from training.fitting import Rows, constrain, describe, parameterise, threads, varies
from training.labels import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.labels import Floats
    from training.parts import Matrix, Part
    from training.positions import Terms


def fit(
    train: Part,
    validation: Part,
    signature: Signature,
    options: Options,
    share: float,
    progress: Callable[[int], None] = lambda _trees: None,
) -> Fitted:
    """`share` of the unrewarded rows are in `train`. Raises TrainingError when there is nothing to tell apart."""
    rows = prepare(train, validation, signature, options, share)
    return appraise(rows, grow(rows, options, progress), options)


def prepare(train: Part, validation: Part, signature: Signature, options: Options, share: float) -> Rows:
    """Raises TrainingError as `fit`."""
    for name, part in (("training", train), ("validation", validation)):
        if part.rewarded.all() or not part.rewarded.any():
            alike = "rewarded" if part.rewarded.any() else "unrewarded"
            raise TrainingError(f"all {len(part.rewarded)} {name} rows are {alike}: a model needs both kinds")
    varying = np.flatnonzero(varies(train.matrix))
    if not len(varying):
        raise TrainingError(f"no feature differs between the {len(train.rewarded)} training rows")
    weight = np.where(train.rewarded, 1.0, 1.0 / share)
    return Rows(
        train=train,
        validation=validation,
        signature=Signature(tuple(signature.features[at] for at in varying.tolist())),
        columns=varying,
        constraints=constrain(signature, options),
        weight=weight,
        share=share,
        base=positions.log_odds(train.rewarded, weight),
    )


def appraise(rows: Rows, fitted: Fitted, options: Options) -> Fitted:
    """With what a reward brings, where the rows have amounts."""
    parameters = describe(options, len(rows.train.rewarded))
    valued = values.fit(
        rows.train, rows.validation, rows.columns, rows.signature, parameters, options.trees, options.patience
    )
    return msgspec.structs.replace(fitted, value=valued)


def grow(
    rows: Rows,
    options: Options,
    progress: Callable[[int], None] = lambda _trees: None,
    terms: Terms | None = None,
) -> Fitted:
    """The trees of the propensity, calibrated; `terms` are those of positions where they are known already."""
    train, validation, varying, signature = rows.train, rows.validation, rows.columns, rows.signature
    parameters, base = parameterise(rows, options), rows.base
    learning, weight = train.matrix[:, varying], rows.weight
    if terms is None:
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
        parameters=parameters | {"trees": booster.num_trees(), "negatives": rows.share, "rows": len(train.rewarded)},
        losses=losses,
        terms=terms,
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


def score(booster: lightgbm.Booster, matrix: Matrix) -> Floats:
    """Raw scores (log-odds)."""
    return np.asarray(booster.predict(matrix, raw_score=True, num_threads=threads(len(matrix))), np.float64)
