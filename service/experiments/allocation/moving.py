"""Moving the weights of experiments by what the archive says of their reward: each move is a version of the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from service.catalog import versions
from service.catalog.experiments import Move
from service.experiments.allocation.times import note
from service.experiments.inference import thompson
from service.experiments.ranges import weights_of
from service.experiments.reports import measuring, reporting
from service.experiments.reports.trials import find

if TYPE_CHECKING:
    from features.home import Home
    from service.catalog.experiments import Experiment
    from service.catalog.schema import Catalog
    from service.experiments.reports.trials import Trial
    from service.experiments.reports.units import Units

AHEAD = 3_000_000
"""Microseconds from a move until it binds: by then every process knows it, so that all bind alike."""
LEAST_CHANGE = 0.01
"""Weights of which none changes by more stay."""


def move(home: Home, names: list[str], now: int) -> dict[str, tuple[float, ...]]:
    """Move the weights of these experiments of the live catalog -> those that moved. `now` in microseconds.

    Raises DocumentError or ArchiveError, and then nothing has moved.
    """
    catalog, _ = versions.read(home)
    found: dict[str, tuple[float, ...]] = {}
    for name in names:
        trial = find(catalog, name)
        weights = decide(trial, reporting.load(home, trial), seed=now)
        if weights is not None:
            found[name] = weights
    moved: dict[str, tuple[float, ...]] = {}

    def change(present: Catalog) -> Catalog:
        moved.update({one.id: found[one.id] for one in present.experiments if _differs(one, found.get(one.id))})
        if not moved:
            return present
        experiments = tuple(
            _move(one, moved[one.id], now + AHEAD) if one.id in moved else one for one in present.experiments
        )
        return present.model_copy(update={"experiments": experiments})

    published = versions.move(home, change, "; ".join(f"{name} moves" for name in found))
    note(home, dict.fromkeys(names, now))
    return moved if published is not None else {}


def decide(trial: Trial, units: Units, seed: int) -> tuple[float, ...] | None:
    """The weights that the units speak for; None while there are too few. The seed says which draws are taken."""
    at = next(at for at, metric in enumerate(trial.analysis.metrics) if not metric.guardrail)
    metric, measured = trial.analysis.metrics[at], measuring.measure(trial, at, units)
    arm, chance = units.arm[measured.rows], units.chance[measured.rows]
    if np.bincount(arm, minlength=len(trial.arms)).min() < thompson.LEAST_UNITS:
        return None
    if metric.kind == "conversion":
        draws = thompson.believe_rates(arm, len(trial.arms), chance, measured.outcome, seed)
    else:
        shown = measured.outcome, measured.denominator
        draws = thompson.believe_means(arm, len(trial.arms), chance, *shown, seed)
    return None if np.isnan(draws).any() else thompson.share_out(draws, metric.goal, trial.floor)


def _differs(experiment: Experiment, weights: tuple[float, ...] | None) -> bool:
    if weights is None or experiment.status != "running" or experiment.allocation.kind != "thompson":
        return False
    present = experiment.moves[-1].weights if experiment.moves else weights_of(experiment)
    return max(abs(new - old) for new, old in zip(weights, present, strict=True)) >= LEAST_CHANGE


def _move(experiment: Experiment, weights: tuple[float, ...], since: int) -> Experiment:
    last = experiment.moves[-1].since if experiment.moves else 0
    added = Move(since=max(since, last + 1), weights=weights)
    return experiment.model_copy(update={"moves": (*experiment.moves, added)})
