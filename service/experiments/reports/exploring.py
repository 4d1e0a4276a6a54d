"""Where to look next: the first metric by segment, by day since the enrolment, and as it came to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.archive.naming import DAY
from service.experiments.inference import corrections, differences, estimates
from service.experiments.reports import comparing, measuring
from service.experiments.reports.comparing import known
from service.experiments.reports.schema import Course, Day, SegmentReport

if TYPE_CHECKING:
    from service.experiments.inference.estimates import Estimate
    from service.experiments.inference.moments import Moments
    from service.experiments.reports.trials import Trial
    from service.experiments.reports.units import Floats, Ints, Units

MOST_LABELS = 12
"""Of a segment: the largest ones."""
LEAST_UNITS = 100
"""Of an arm in a segment, or on a day."""
MOST_DAYS = 28


def divide(trial: Trial, units: Units, weighted: bool) -> list[SegmentReport]:
    """By what the context of the enrolling decision said. Read once, whatever the mode."""
    at = primary(trial)
    measured = measuring.measure(trial, at, units)
    found: list[SegmentReport] = []
    for name, segment in units.segments.items():
        label = segment.label[measured.rows]
        many = len(segment.labels)
        group = label * len(trial.arms) + units.arm[measured.rows]
        parts = measuring.gather(units, measured, group, many * len(trial.arms), weighted)
        for code in np.argsort(-np.bincount(label, minlength=many))[:MOST_LABELS].tolist():
            arms = parts[code * len(trial.arms) : (code + 1) * len(trial.arms)]
            if arms.units.min() >= LEAST_UNITS:
                found += _segment(trial, name, segment.labels[code], estimates.adjust(arms))
    p = corrections.correct(np.array([one.adjusted or np.nan for one in found]), "benjamini-hochberg")
    return [msgspec.structs.replace(one, adjusted=known(value)) for one, value in zip(found, p, strict=True)]


def follow(trial: Trial, units: Units, weighted: bool) -> list[Course]:
    """By day: of each variant but the control."""
    at = primary(trial)
    since = _since_enrolment(trial, at, units, weighted)
    so_far = _so_far(trial, at, units, weighted)
    courses = []
    for variant, name in enumerate(trial.arms):
        if variant == trial.control:
            continue
        lasting = [_day(trial, day, arms, variant) for day, arms in since]
        slope, p = _slope(lasting)
        courses.append(
            Course(
                variant=name,
                since_enrolment=lasting,
                so_far=[_day(trial, day, arms, variant) for day, arms in so_far],
                slope=slope,
                p=p,
            )
        )
    return courses


def primary(trial: Trial) -> int:
    """The metric that decides: the first that is no guardrail."""
    return next(at for at, metric in enumerate(trial.analysis.metrics) if not metric.guardrail)


def _segment(trial: Trial, name: str, label: str, arms: Estimate) -> list[SegmentReport]:
    others = np.flatnonzero(np.arange(len(trial.arms)) != trial.control)
    control = arms[np.full(len(others), trial.control)]
    beside = differences.compare(arms[others], control, 1 - trial.analysis.confidence)
    return [
        SegmentReport(
            name=name,
            label=label,
            variant=trial.arms[arm],
            units=int(arms.units[arm] + arms.units[trial.control]),
            lift=known(beside.lift[at]),
            difference=known(beside.value[at]),
            low=known(beside.low[at]),
            high=known(beside.high[at]),
            adjusted=known(beside.p[at]),
        )
        for at, arm in enumerate(others.tolist())
    ]


def _since_enrolment(trial: Trial, at: int, units: Units, weighted: bool) -> list[tuple[int, Estimate]]:
    """What happened on the n-th day of those whose n-th day is over."""
    metric, place = trial.analysis.metrics[at], measuring.places(trial)[at]
    owner, measure, day, events, amount = units.daily
    whole = (units.until - units.enrolled) // DAY
    found = []
    for number in range(min(MOST_DAYS, int(whole.max(initial=0)))):
        rows = np.flatnonzero(whole > number)
        if np.bincount(units.arm[rows], minlength=len(trial.arms)).min() < LEAST_UNITS:
            break
        columns: list[Floats] = []
        for offset in range(2 if metric.kind == "ratio" else 1):
            here = (measure == place + offset) & (day == number)
            counted = events if metric.kind == "conversion" else amount
            columns.append(np.bincount(owner[here], counted[here], len(units.arm)).astype(float)[rows])
        most = 1.0 if metric.kind == "conversion" else metric.cap
        outcome = columns[0] if most is None else np.minimum(columns[0], most)
        below = columns[1] if len(columns) > 1 else np.ones(len(rows))
        measured = measuring.Measured(rows=rows, outcome=outcome, denominator=below, covariate=np.zeros(len(rows)))
        parts = measuring.gather(units, measured, units.arm[rows], len(trial.arms), weighted)
        found.append((number, estimates.estimate(parts)))
    return found


def _so_far(trial: Trial, at: int, units: Units, weighted: bool) -> list[tuple[int, Estimate]]:
    """Of all units enrolled up to each day: moments of days, added one after the other."""
    measured = measuring.measure(trial, at, units)
    if not len(measured.rows):
        return []
    enrolled = units.enrolled[measured.rows]
    day: Ints = (enrolled - enrolled.min()) // DAY
    days = int(day.max()) + 1
    group = day * len(trial.arms) + units.arm[measured.rows]
    parts = measuring.gather(units, measured, group, days * len(trial.arms), weighted)
    found, sofar = [], None
    for number in range(days):
        today: Moments = parts[number * len(trial.arms) : (number + 1) * len(trial.arms)]
        sofar = today if sofar is None else sofar + today
        if sofar.units.min() >= LEAST_UNITS:
            found.append((number, estimates.adjust(sofar)))
    return found


def _day(trial: Trial, day: int, arms: Estimate, variant: int) -> Day:
    at = variant - (variant > trial.control)
    beside = comparing.read(trial, None, arms, 1 - trial.analysis.confidence)
    return Day(
        day=day,
        units=int(arms.units[variant] + arms.units[trial.control]),
        difference=known(beside.value[at]),
        low=known(beside.low[at]),
        high=known(beside.high[at]),
    )


def _slope(days: list[Day]) -> tuple[float | None, float | None]:
    """Least squares by the days' own precision -> (slope a day, p). Days of the same units count as independent."""
    from scipy import stats

    sound = [one for one in days if one.difference is not None and one.low is not None and one.high is not None]
    if len(sound) < 3:
        return None, None
    x = np.array([one.day for one in sound], float)
    y = np.array([one.difference for one in sound], float)
    weight = np.array([1 / max((one.high or 0.0) - (one.low or 0.0), 1e-12) ** 2 for one in sound])
    centre = (weight * x).sum() / weight.sum()
    spread = float((weight * (x - centre) ** 2).sum())
    slope = float((weight * (x - centre) * y).sum() / spread)
    rest = y - (weight * y).sum() / weight.sum() - slope * (x - centre)
    scale = float((weight * rest**2).sum() / (len(sound) - 2))
    if scale == 0:
        return slope, None
    return slope, float(2 * stats.t.sf(abs(slope) / np.sqrt(scale / spread), len(sound) - 2))
