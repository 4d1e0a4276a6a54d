"""The metrics of an experiment: each variant's value, what separates it from the control, and what holds of that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from service.experiments.inference import bayesian, corrections, differences, estimates
from service.experiments.reports import measuring
from service.experiments.reports.schema import Comparison, MetricReport, Value

if TYPE_CHECKING:
    from service.experiments.analysis import Metric
    from service.experiments.inference.differences import Difference
    from service.experiments.inference.estimates import Estimate
    from service.experiments.reports.schema import Finding
    from service.experiments.reports.trials import Trial
    from service.experiments.reports.units import Floats, Units

TUNED_UNITS = 10_000
"""Where sequential intervals are narrowest, for an experiment that did not plan its units."""


def compare(trial: Trial, units: Units, weighted: bool) -> list[MetricReport]:
    """All metrics. Findings are corrected over variants and metrics, guardrails apart: they are watched at full level,
    since a false alarm costs less than harm.
    """
    arms = [_estimate(trial, at, units, weighted) for at in range(len(trial.analysis.metrics))]
    return judge(trial, arms)


def judge(trial: Trial, arms: list[Estimate]) -> list[MetricReport]:
    """From the estimates (arms,) of each metric."""
    metrics, alpha = trial.analysis.metrics, 1 - trial.analysis.confidence
    method = "none" if trial.analysis.mode == "bayesian" else trial.analysis.correction
    family = [at for at, metric in enumerate(metrics) if not metric.guardrail]
    first = [read(trial, metrics[at], arms[at], alpha) for at in family]
    adjusted = corrections.correct(np.concatenate([found.p for found in first]), method)
    level = corrections.interval_level(adjusted, alpha, method)
    of_metric = dict(zip(family, np.split(adjusted, len(family)), strict=True))
    reports = []
    for at, metric in enumerate(metrics):
        own = alpha if metric.guardrail else level
        found = read(trial, metric, arms[at], own)
        reports.append(_report(trial, metric, arms[at], found, of_metric.get(at, found.p), own))
    return reports


def read(trial: Trial, metric: Metric | None, arms: Estimate, alpha: float) -> Difference:
    """The variants (arms - 1,) beside the control, as the experiment's mode reads it. Guardrails are looked at all the
    time, whatever the mode.
    """
    others = np.flatnonzero(np.arange(len(trial.arms)) != trial.control)
    variants, control = arms[others], arms[np.full(len(others), trial.control)]
    if trial.analysis.mode != "sequential" and not (metric is not None and metric.guardrail):
        return differences.compare(variants, control, alpha)
    return differences.follow(variants, control, alpha, tuned_units(trial))


def tuned_units(trial: Trial) -> Floats:
    """Of each pair of a variant and the control: its part of the planned units."""
    shares = np.array([share for at, share in enumerate(trial.shares) if at != trial.control])
    tuned: Floats = (trial.analysis.units or TUNED_UNITS) * (shares + trial.shares[trial.control])
    return tuned


def _estimate(trial: Trial, at: int, units: Units, weighted: bool) -> Estimate:
    measured = measuring.measure(trial, at, units)
    arm = units.arm[measured.rows]
    return estimates.adjust(measuring.gather(units, measured, arm, len(trial.arms), weighted))


def _report(
    trial: Trial, metric: Metric, arms: Estimate, found: Difference, adjusted: Floats, level: float
) -> MetricReport:
    belief = bayesian.believe(arms, metric.goal)
    others = [name for at, name in enumerate(trial.arms) if at != trial.control]
    return MetricReport(
        id=metric.id,
        kind=metric.kind,
        goal=metric.goal,
        guardrail=metric.guardrail,
        values=[
            Value(
                variant=name,
                units=int(arms.units[at]),
                value=known(arms.value[at]),
                error=known(np.sqrt(arms.variance[at])),
                variance_left=known(arms.variance[at] / arms.plain[at]) if arms.plain[at] > 0 else None,
                probability_best=known(belief.best[at]),
                expected_loss=known(belief.loss[at]),
            )
            for at, name in enumerate(trial.arms)
        ],
        comparisons=[_beside(trial, metric, name, found, adjusted, at) for at, name in enumerate(others)],
        level=level,
    )


def _beside(trial: Trial, metric: Metric, name: str, found: Difference, adjusted: Floats, at: int) -> Comparison:
    """An interval that still touches 0 though the correction has found a difference is bounded by 0."""
    is_found = bool(adjusted[at] <= 1 - trial.analysis.confidence)
    low, high = float(found.low[at]), float(found.high[at])
    lift_low, lift_high = float(found.lift_low[at]), float(found.lift_high[at])
    if is_found and found.value[at] > 0:
        low, lift_low = max(low, 0.0), max(lift_low, 0.0) if not math.isnan(lift_low) else lift_low
    elif is_found:
        high, lift_high = min(high, 0.0), min(lift_high, 0.0) if not math.isnan(lift_high) else lift_high
    return Comparison(
        variant=name,
        difference=known(found.value[at]),
        low=known(low),
        high=known(high),
        lift=known(found.lift[at]),
        lift_low=known(lift_low),
        lift_high=known(lift_high),
        p=known(found.p[at]),
        adjusted=known(adjusted[at]),
        finding=_finding(metric, is_found, float(found.value[at]), lift_low, lift_high),
    )


def _finding(metric: Metric, is_found: bool, value: float, lift_low: float, lift_high: float) -> Finding:
    """A guardrail is worse only beyond what is borne of it."""
    if not is_found:
        return "unclear"
    if (value > 0) == (metric.goal == "increase"):
        return "better"
    harm = -lift_high if metric.goal == "increase" else lift_low
    return "worse" if metric.margin == 0 or math.isnan(harm) or harm > metric.margin else "unclear"


def known(value: float) -> float | None:
    """None for what is no number."""
    return float(value) if math.isfinite(value) else None
