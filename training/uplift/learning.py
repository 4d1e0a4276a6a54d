"""For whom a treatment works: two models, and one of the transformed outcome, each unit judged by those of the others.

Refuses what is no test: an arm without units or outcomes, or a treatment that follows from the features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightgbm
import msgspec
import numpy as np

from features.ids import digest
from models.uplift import Effect, Qini, UpliftError, curve_qini, measure_effect, transform
from training.uplift.groups import compare, rank, slice_features, suspect

if TYPE_CHECKING:
    from training.labels import Flags, Floats
    from training.uplift.groups import Group, Trial

TREES, LEAVES, RATE = 60, 8, 0.05
"""Small: effects are a fraction of the outcomes that they are differences of."""
FEWEST_UNITS, FEWEST_OUTCOMES = 200, 20
"""Of each arm."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    effect: Effect
    curves: dict[str, Qini]
    """Method -> its curve; the first one is the two models'."""
    scores: dict[str, Floats]
    """Method -> (n,) the predicted effect on each unit."""
    by_score: list[Group]
    """From the highest predicted effect to the lowest."""
    by_feature: list[Group]
    """From the largest difference to the smallest."""
    suspicion: str = ""
    """Why the treatment seems not to have been drawn at random; empty if it does not."""

    @property
    def shows_for_whom(self) -> bool:
        """Whether all methods do: an interval knows nothing of the luck of one training."""
        return all(curve.shows_for_whom for curve in self.curves.values())


def find(trial: Trial, seed: int = 0) -> Finding:
    """Raises UpliftError where there is too little to tell anything of."""
    _require(trial)
    scores = {"two models": np.empty(len(trial.units)), "transformed outcome": np.empty(len(trial.units))}
    half = _halve(trial.units)
    for judged in (False, True):
        learn, there = half != judged, half == judged
        scores["two models"][there] = _fit_two(trial, learn, there, seed)
        scores["transformed outcome"][there] = _fit_transformed(trial, learn, there, seed)
    slices = slice_features(trial)
    return Finding(
        effect=measure_effect(trial.outcome, trial.treated),
        curves={name: curve_qini(score, trial.outcome, trial.treated, seed) for name, score in scores.items()},
        scores=scores,
        by_score=rank(trial, scores["two models"]),
        by_feature=compare(trial, slices),
        suspicion=suspect(trial, slices),
    )


def _require(trial: Trial) -> None:
    for name, arm in (("treated", trial.treated), ("other", ~trial.treated)):
        units = int(arm.sum())
        if units < FEWEST_UNITS:
            raise UpliftError(f"{units:,} {name} units: at least {FEWEST_UNITS} are needed in each arm")
        if (outcomes := int((trial.outcome[arm] != 0.0).sum())) < FEWEST_OUTCOMES:
            raise UpliftError(f"{outcomes} of the {units:,} {name} units have an outcome: {FEWEST_OUTCOMES} are needed")
    if not len(trial.names) or not (np.nanmax(trial.matrix, axis=0) > np.nanmin(trial.matrix, axis=0)).any():
        raise UpliftError("no feature differs between units: there is nobody to tell from anybody")


def _halve(units: list[str]) -> Flags:
    """By a hash of the id: rows of one unit stay together, and the same unit in the same half for ever."""
    halves: Flags = np.array([digest(f"uplift {unit}") >> 7 & 1 for unit in units], np.bool_)
    return halves


def _fit_two(trial: Trial, learn: Flags, there: Flags, seed: int) -> Floats:
    """The difference of two models, one an arm (the T-learner of Kuenzel et al. 2019, Metalearners for estimating
    heterogeneous treatment effects, section 2)."""
    arms = [_fit(trial, learn & arm, trial.outcome, seed) for arm in (trial.treated, ~trial.treated)]
    ours, theirs = (np.asarray(booster.predict(trial.matrix[there])) for booster in arms)
    difference: Floats = ours - theirs
    return difference


def _fit_transformed(trial: Trial, learn: Flags, there: Flags, seed: int) -> Floats:
    """One model of the transformed outcome."""
    target = transform(trial.outcome, trial.treated, float(trial.treated[learn].mean()))
    return np.asarray(_fit(trial, learn, target, seed).predict(trial.matrix[there]))


def _fit(trial: Trial, rows: Flags, target: Floats, seed: int) -> lightgbm.Booster:
    binary = bool(np.isin(target, (0.0, 1.0)).all())
    parameters = {
        "objective": "binary" if binary else "regression",
        "learning_rate": RATE,
        "num_leaves": LEAVES,
        "min_data_in_leaf": max(20, min(200, int(rows.sum()) // 50)),
        "lambda_l2": 5.0,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    categorical = [at for at, name in enumerate(trial.names) if name in trial.categories]
    table = lightgbm.Dataset(
        trial.matrix[rows], target[rows], feature_name=[f"f{at}" for at in range(len(trial.names))],
        categorical_feature=categorical, params=parameters,
    )  # fmt: skip
    return lightgbm.train(parameters, table, TREES)
