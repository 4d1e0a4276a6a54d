"""A metric's numbers of each unit, out of the table: outcome, denominator, covariate, and who is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from service.experiments.inference import moments, weighting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.experiments.analysis import Metric
    from service.experiments.inference.moments import Moments
    from service.experiments.reports.trials import Trial
    from service.experiments.reports.units import Floats, Ints, Units


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Of k units whose metric is known."""

    rows: NDArray[np.int64]
    """(k,) which of the table's"""
    outcome: NDArray[np.float64]
    denominator: NDArray[np.float64]
    covariate: NDArray[np.float64]


def places(trial: Trial) -> list[int]:
    """Of each metric, its first measure."""
    ends = np.cumsum([2 if metric.kind == "ratio" else 1 for metric in trial.analysis.metrics])
    return [0, *ends[:-1].tolist()]


def measure(trial: Trial, at: int, units: Units) -> Measured:
    """The metric at a place. Where it counts `within` some time, only units for whom that is over."""
    metric, place = trial.analysis.metrics[at], places(trial)[at]
    rows = np.arange(len(units.arm))
    if metric.within is not None:
        rows = np.flatnonzero(units.enrolled + int(metric.within.total_seconds() * 1e6) <= units.until)
    outcome = _amounts(metric, units.events[place], units.amount[place])[rows]
    covariate = _amounts(metric, units.events_before[place], units.amount_before[place])[rows]
    denominator = units.amount[place + 1][rows] if metric.kind == "ratio" else np.ones(len(rows))
    if metric.kind == "ratio":  # the linear part of a ratio before, around the ratio of all
        below = units.amount_before[place + 1][rows]
        whole = below.sum()
        covariate = covariate - below * (covariate.sum() / whole if whole else 0.0)
    if not trial.lookback:
        covariate = np.zeros(len(rows))
    return Measured(rows=rows, outcome=outcome, denominator=denominator, covariate=covariate)


def gather(units: Units, measured: Measured, group: Ints, groups: int, weighted: bool) -> Moments:
    """Moments (groups,) of units by a group of each, or of arms of groups."""
    if weighted:
        chance = units.chance[measured.rows]
        return weighting.weigh(group, groups, chance, measured.outcome, measured.denominator)
    return moments.measure_groups(group, groups, measured.outcome, measured.denominator, measured.covariate)


def _amounts(metric: Metric, events: Floats, amount: Floats) -> Floats:
    if metric.kind == "conversion":
        return (events > 0).astype(float)
    return np.minimum(amount, metric.cap) if metric.cap is not None else amount
