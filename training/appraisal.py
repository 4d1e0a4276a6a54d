"""How well it is told what a reward brings: on the test's rewards, beside the mean, the candidate's mean and the price.

Amounts are skewed, so that the mean error says little: deviances are Tweedie's (Jorgensen 1987, section 4), as the
trees minimise them, and the ratio of sums tells whether values are right in total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.intervals import Interval, enclose, number, resample, total
from training.metrics import RATIO
from training.values import POWER, known

if TYPE_CHECKING:
    from training.labels import Floats, Queries
    from training.parts import Part

DEVIANCE, RMSE = "deviance", "RMSE"
MEAN, OWN_MEAN, PRICE = "mean of all", "candidate's mean", "candidate's price"
PRICED = "candidate__price"
STEADY = 20.0
"""Rewards of the mean of all that a candidate's mean is steadied by."""
LEAST = 1e-6
"""A value below this is told as this: the deviance of nothing is without bound."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One method's values."""

    name: str
    metrics: dict[str, Interval]
    replicates: Floats
    """Of the deviance."""


class Appraised(msgspec.Struct, frozen=True, kw_only=True):
    model: Told
    baselines: list[Told]
    rewards: int
    """Of the test, of which it is known what they brought."""
    brought: float

    def difference(self, baseline: Told) -> Interval:
        """The model's deviance minus the baseline's, paired."""
        value = self.model.metrics[DEVIANCE].value - baseline.metrics[DEVIANCE].value
        return enclose(value, self.model.replicates - baseline.replicates)


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What baselines know of the training rewards."""

    mean: float
    own: Floats
    """By candidate's place in the queries."""
    level: float
    """What a reward brought, per unit of its candidate's price; NaN without prices."""


def learn(queries: Queries, part: Part, names: list[str]) -> Learnt | None:
    """Of the training rows, where they have amounts; `names` are of the part's columns."""
    if part.amount is None:
        return None
    paid = known(part)
    amount = part.amount[paid]
    candidate = queries.candidate[queries.rewarded][paid[part.rewarded]]  # all rewarded rows are kept
    size, mean = len(queries.candidates), float(amount.mean()) if len(amount) else float("nan")
    own = (np.bincount(candidate, amount, minlength=size) + STEADY * mean) / (
        np.bincount(candidate, minlength=size) + STEADY
    )
    price = float(np.nansum(part.matrix[paid, names.index(PRICED)])) if PRICED in names else 0.0
    return Learnt(mean=mean, own=own, level=float(amount.sum()) / price if price > 0.0 else float("nan"))


def appraise(queries: Queries, part: Part, names: list[str], value: Floats, learnt: Learnt, seed: int) -> Appraised:
    """The test's rewards; `value` (r,) is the model's."""
    paid = known(part)
    actual = np.zeros(0) if part.amount is None else part.amount[paid]
    candidate = queries.candidate[paid]
    told = {MEAN: np.full(len(actual), learnt.mean), OWN_MEAN: learnt.own[candidate]}
    if np.isfinite(learnt.level):
        told[PRICE] = np.nan_to_num(part.matrix[paid, names.index(PRICED)].astype(np.float64)) * learnt.level
    unit, units = number(queries.customers)
    of_row = unit[queries.owner[paid]]
    return Appraised(
        model=_judge("model", value[paid], actual, of_row, units, seed),
        baselines=[_judge(name, values, actual, of_row, units, seed) for name, values in told.items()],
        rewards=len(actual),
        brought=float(actual.sum()),
    )


def deviances(predicted: Floats, actual: Floats, power: float = POWER) -> Floats:
    """Tweedie's unit deviance of each reward, 1 < power < 2; 0 where the prediction is right."""
    mean = np.maximum(predicted, LEAST)
    paid = np.power(actual, 2.0 - power) / ((1.0 - power) * (2.0 - power))
    return 2.0 * (paid - actual * mean ** (1.0 - power) / (1.0 - power) + mean ** (2.0 - power) / (2.0 - power))


def _judge(name: str, predicted: Floats, actual: Floats, unit: np.ndarray, units: int, seed: int) -> Told:
    totals = {
        DEVIANCE: total(deviances(predicted, actual), unit, units),
        RMSE: total((predicted - actual) ** 2, unit, units),
        RATIO: total(predicted, unit, units, actual),
    }
    drawn = resample(totals, units, seed)
    drawn[RMSE] = np.sqrt(drawn[RMSE])
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {metric: float(np.divide(each.above.sum(), each.below.sum())) for metric, each in totals.items()}
    values[RMSE] = float(np.sqrt(values[RMSE]))
    metrics = {metric: enclose(value, drawn[metric]) for metric, value in values.items()}
    return Told(name=name, metrics=metrics, replicates=drawn[DEVIANCE])
