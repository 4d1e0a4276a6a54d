"""A report from beginning to end: the catalog's experiment, its table brought up to the archive, figures, words."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from service.catalog import versions
from service.experiments.inference import mismatch, weighting
from service.experiments.reports import comparing, exploring, growing, preferring, verdict
from service.experiments.reports import units as table
from service.experiments.reports.comparing import known
from service.experiments.reports.schema import ArmReport, Mismatch, Report, Weights
from service.experiments.reports.trials import find

if TYPE_CHECKING:
    from collections.abc import Callable

    from features.home import Home
    from service.experiments.reports.trials import Trial
    from service.experiments.reports.units import Units


def report(home: Home, name: str, tell: Callable[[int], None] = lambda _: None) -> Report:
    """The report on an experiment of the live catalog. Raises UnknownTrialError, DocumentError or ArchiveError."""
    catalog, _ = versions.read(home)
    trial = find(catalog, name)
    units = load(home, trial, tell)
    return summarise(trial, units, is_over(trial, ZoneInfo(catalog.time_zone), time.time()))


def load(home: Home, trial: Trial, tell: Callable[[int], None] = lambda _: None) -> Units:
    """The experiment's table of units as of the archive now."""
    with growing.grown(home, trial, tell) as state:
        return table.read(state, trial)


def summarise(trial: Trial, units: Units, over: bool) -> Report:
    """What a table says. `over`: the experiment has ended."""
    if trial.is_interleaved:
        return preferring.summarise(trial, units, over, told(units.until))
    weighted = weighting.moves(units.met_arm, units.met_chance)
    arms = _arms(trial, units)
    found = _check(trial, units, weighted)
    metrics = comparing.compare(trial, units, weighted)
    return Report(
        experiment=trial.id,
        status=trial.status,
        mode=trial.analysis.mode,
        confidence=trial.analysis.confidence,
        correction=trial.analysis.correction,
        control=trial.arms[trial.control],
        as_of=told(units.until),
        weighted=weighted,
        units=len(units.arm),
        planned=trial.analysis.units,
        arms=arms,
        mismatch=found,
        left_out=units.left_out,
        unconverted=units.unconverted,
        metrics=metrics,
        segments=exploring.divide(trial, units, weighted),
        courses=exploring.follow(trial, units, weighted),
        verdict=verdict.judge(trial, metrics, arms, found, units.left_out, weighted, over),
        weights=moved(trial),
    )


def moved(trial: Trial) -> list[Weights]:
    """The weights of an experiment that moves them, from the first on."""
    if trial.allocation != "thompson":
        return []
    since = [(None, trial.shares), *((told(at), shares) for at, shares in trial.moves)]
    return [Weights(since=at, weights=dict(zip(trial.arms, shares, strict=True))) for at, shares in since]


def told(microseconds: int) -> str:
    """ISO 8601 in UTC."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat()


def is_over(trial: Trial, zone: ZoneInfo, now: float) -> bool:
    """Whether the experiment has ended, or was stopped. A day that ends it counts with all its hours."""
    if trial.status in ("stopped", "rolled_out"):
        return True
    ends = trial.ends
    if ends is None:
        return False
    if not isinstance(ends, datetime):
        return bool(datetime.fromtimestamp(now, zone).date() > ends)
    return (ends if ends.tzinfo else ends.replace(tzinfo=zone)).timestamp() <= now


def _arms(trial: Trial, units: Units) -> list[ArmReport]:
    counted = np.bincount(units.arm, minlength=len(trial.arms))
    enrolled = np.bincount(units.met_arm, minlength=len(trial.arms))
    return [
        ArmReport(id=name, units=int(counted[at]), enrolled=int(enrolled[at]), expected=share * len(units.met_arm))
        for at, (name, share) in enumerate(zip(trial.arms, trial.shares, strict=True))
    ]


def _check(trial: Trial, units: Units, weighted: bool) -> Mismatch:
    """Of all who were enrolled: who met a second variant later was given the first by chance too."""
    if weighted:
        p = mismatch.check_chances(units.met_arm, units.met_chance, len(trial.arms))
    else:
        enrolled = np.bincount(units.met_arm, minlength=len(trial.arms))
        shares = np.array(trial.shares)
        p = float(mismatch.check_shares(enrolled, shares, (shares > 0) | (enrolled > 0)))
    return Mismatch(p=known(p), alarm=bool(p < mismatch.ALARM))
