"""What a reward brings, by candidate and customer: trees beside those of the propensity, over the same features.

Learnt from rewarded rows alone, so that propensity x value is what showing a candidate is expected to bring. One set of
trees by Tweedie's deviance (Jorgensen 1987, Exponential dispersion models, section 4) takes both what is always paid
and what mostly brings nothing, such as a click: two parts (whether, and how much) gained nothing worth their time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np

from models.bundle import Appraisal
from training.labels import REVENUE, TrainingError

if TYPE_CHECKING:
    from models.signature import Signature
    from training.labels import Flags, Floats, Ints
    from training.parts import Matrix, Part

POWER = 1.5
"""Of the mean, to which the variance grows: 1 is a count's, 2 a gamma's."""
LEAVES = 15
FEWEST = 100
"""Rewards with a known amount that trees are grown on."""
CAUTION = 50.0
"""Rewards of the mean that the level is steadied by: a few large orders must not move it far."""


class Valued(msgspec.Struct, frozen=True, kw_only=True):
    booster: lightgbm.Booster
    appraisal: Appraisal
    mean: float
    """Of a training reward."""
    rewards: int
    losses: dict[str, list[float]]
    """Part -> deviance by tree, but for what does not depend on the trees."""

    def of(self, matrix: Matrix | Floats) -> Floats:
        """What a reward of each row (rows, features) is expected to bring."""
        raw = np.asarray(self.booster.predict(matrix, raw_score=True, num_threads=1), np.float64)
        return np.exp(raw) * self.appraisal.scale


def fit(
    train: Part,
    validation: Part,
    columns: Ints,
    signature: Signature,
    parameters: dict[str, Any],
    trees: int,
    stop: int,
) -> Valued | None:
    """Trees over the parts' `columns`, which the signature names; `parameters` are those of the propensity's trees.

    None where nobody asked for amounts. Raises TrainingError for too few rewards of which the amount is known.
    """
    if train.amount is None or validation.amount is None:
        return None
    paid, judged = known(train), known(validation)
    brought, actual = train.amount[paid], validation.amount[judged]
    _require(brought, actual)
    tweedie = _describe(parameters, len(brought))
    table = lightgbm.Dataset(
        train.matrix[paid][:, columns],
        brought,
        feature_name=signature.names,
        categorical_feature=signature.categorical,
        params=tweedie,
    )
    judge = validation.matrix[judged][:, columns]
    recorded: dict[str, dict[str, list[float]]] = {}
    grown = lightgbm.train(
        tweedie,
        table,
        num_boost_round=trees,
        valid_sets=[table, table.create_valid(judge, actual)],
        valid_names=["train", "validation"],
        callbacks=[lightgbm.early_stopping(stop, verbose=False), lightgbm.record_evaluation(recorded)],
    )
    booster = lightgbm.Booster(model_str=grown.model_to_string(num_iteration=grown.best_iteration))
    mean = float(brought.mean())
    predicted = np.exp(np.asarray(booster.predict(judge, raw_score=True, num_threads=1)))
    # Trees that stop early, and are told of few large orders, are off by some percent in sum.
    scale = (float(actual.sum()) + CAUTION * mean) / (float(predicted.sum()) + CAUTION * mean)
    return Valued(
        booster=booster,
        appraisal=Appraisal(of=REVENUE, scale=scale),
        mean=mean,
        rewards=len(brought),
        losses={part: values["tweedie"] for part, values in recorded.items()},
    )


def known(part: Part) -> Flags:
    """(r,) the rewarded rows of which it is known what they brought."""
    amount = np.full(len(part.rewarded), np.nan) if part.amount is None else part.amount
    found: Flags = part.rewarded & (amount >= 0.0)
    return found


def _require(brought: Floats, actual: Floats) -> None:
    if len(brought) < FEWEST or not (brought > 0.0).any():
        raise TrainingError(
            f"{len(brought)} training rewards of which the revenue is known, {int((brought > 0.0).sum())} of them "
            f"above zero: values need at least {FEWEST}, and orders with a revenue; train without --value until then"
        )
    if not (actual > 0.0).any():
        raise TrainingError("no validation reward brought anything: the level of values cannot be told")


def _describe(parameters: dict[str, Any], rewards: int) -> dict[str, Any]:
    """The propensity's parameters with what is the values' own: fewer rows, and another loss."""
    shared = {name: value for name, value in parameters.items() if name != "monotone_constraints"}
    own = {"objective": "tweedie", "metric": "tweedie", "tweedie_variance_power": POWER}
    least = max(10, min(300, rewards // 400))
    return shared | own | {"num_leaves": min(LEAVES, shared["num_leaves"]), "min_data_in_leaf": least}
