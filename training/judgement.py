"""The model beside everything that it has to beat, and what the gates say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.bundle import Bundle, BundleError, calibrate, load, read_aliases
from models.off_policy import OffPolicyError
from training import appraisal, baselines, comparison, fit, gates, serving
from training.baselines import Scored
from training.labels import CLICK, MICROSECOND
from training.off_policy.valuing import value_of
from training.skew.auditing import audit

if TYPE_CHECKING:
    from pathlib import Path

    from feast import FeatureStore

    from features.home import Home
    from models.bundle import Description
    from models.off_policy import Valuation
    from training.appraisal import Appraised, Learnt
    from training.bootstrap import Rewards
    from training.comparison import Comparison
    from training.fit import Fitted
    from training.gates import Verdict
    from training.labels import Flags, Floats, Queries
    from training.parts import Matrix, Part
    from training.split import Window

WORTH = "candidate__value"


class Champion(msgspec.Struct, frozen=True):
    """The version that an alias names."""

    version: str
    bundle: Bundle | None
    """None: its files cannot be read."""

    @property
    def name(self) -> str:
        return f"champion, version {self.version}"


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    comparison: Comparison
    score: Floats
    """Of the test's rows."""
    matrix: Matrix
    """Of the test, in the fitted signature's order."""
    verdicts: list[Verdict]
    appraised: Appraised | None = None
    """How well it is told what a reward brings; None: nobody asked."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What a fitted model is judged by."""

    queries: Queries
    """Of the test."""
    part: Part
    names: list[str]
    """Of the part's columns."""
    rewards: Rewards | None
    base_rate: float
    learnt: Learnt | None = None
    """What the training rewards brought, as far as baselines know; None: nobody asked for values."""
    window: Window
    champion: Champion | None
    seed: int


def find_champion(bundles: Path, name: str, alias: str) -> Champion | None:
    """What the alias names now; None if it names nothing. Raises BundleError for a broken file of aliases."""
    version = read_aliases(bundles, name).get(alias)
    if version is None:
        return None
    try:
        return Champion(version, load(bundles / name / version))
    except BundleError:
        return Champion(version, None)


def compare(trial: Trial, fitted: Fitted) -> tuple[Comparison, Floats, Matrix]:
    """The test's rows scored by the model, the baselines and the champion."""
    queries, part = trial.queries, trial.part
    matrix = part.matrix[:, [trial.names.index(name) for name in fitted.signature.names]]
    score = fit.score(fitted.booster, matrix)
    value = None if fitted.value is None else fitted.value.of(matrix)
    model = Scored(name="model", score=score, probability=calibrate(fitted.calibration, score), value=value)
    others = baselines.compare(queries, part.extra, trial.rewards, trial.base_rate, trial.seed)
    if trial.champion is not None and trial.champion.bundle is not None and part.beside is not None:
        others.append(_score_champion(trial.champion, trial.champion.bundle, queries, part.beside))
    known = know(queries, part.extra[baselines.KNOWN])
    compared = comparison.judge(queries, known, model, others, trial.seed, part.extra.get(WORTH))
    return compared, score, matrix


def _score_champion(champion: Champion, bundle: Bundle, queries: Queries, raw: Floats) -> Scored:
    probability = calibrate(bundle.description.calibration, raw) if means_the_same(bundle, queries) else None
    return Scored(name=champion.name, score=raw, probability=probability)


def means_the_same(bundle: Bundle, queries: Queries) -> bool:
    """Whether a model's propensities are of the reward that the queries have."""
    described = bundle.description
    return (described.labels, described.reward) == (queries.kind, queries.reward)


def judge(home: Home, store: FeatureStore, trial: Trial, fitted: Fitted, description: Description) -> Judgement:
    """Everything the gates look at, and what they say. The history must be current."""
    compared, score, matrix = compare(trial, fitted)
    appraised = _appraise(trial, fitted, matrix)
    served, bundle = serving.try_out(description, fitted, matrix)
    champion = trial.champion
    comparable = champion is not None and champion.bundle is not None
    evidence = gates.Evidence(
        comparison=compared,
        champion=champion.name if champion is not None and comparable else None,
        same_meaning=champion is not None
        and champion.bundle is not None
        and means_the_same(champion.bundle, trial.queries),
        serving=served,
        calibration_rewards=fitted.calibration_rewards,
        audit=audit(home, store) if trial.queries.kind == "logged" else None,
        valuation=_value(home, trial, bundle),
        appraised=appraised,
    )
    verdicts = gates.judge(evidence, gates.read_bounds(home))
    return Judgement(comparison=compared, score=score, matrix=matrix, verdicts=verdicts, appraised=appraised)


def _appraise(trial: Trial, fitted: Fitted, matrix: Matrix) -> Appraised | None:
    if fitted.value is None or trial.learnt is None:
        return None
    told = fitted.value.of(matrix)
    return appraisal.appraise(trial.queries, trial.part, trial.names, told, trial.learnt, trial.seed)


def _value(home: Home, trial: Trial, bundle: Bundle | None) -> Valuation | None:
    """What its decisions would have earned in the time of the test."""
    if bundle is None or trial.queries.reward != CLICK:
        return None
    window = trial.window
    try:
        return value_of(home, bundle.propensities, since=window.test_from, until=window.test_until - MICROSECOND)
    except OffPolicyError:
        return None


def know(queries: Queries, recency: Floats) -> Flags:
    """Which queries are of customers with a past: (d,)."""
    known: Flags = ~np.isnan(recency[queries.row_starts[:-1]])
    return known
