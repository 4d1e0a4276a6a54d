"""How a model does in service: drift of its features and scores, missing values, calibration and rewards. Pure.

A drift counts when it is large and chance would not make it: with few customers, any two samples differ.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from training.evaluation import measure_ece
from training.intervals import Interval, enclose, number, resample, total

if TYPE_CHECKING:
    from training.labels import Flags, Floats, Ints

State = Literal["ok", "watch", "act"]
BINS, LEVELS = 10, 20
WATCH, ACT = 0.1, 0.25
"""Of the stability index, by the rule of thumb of credit scoring (Siddiqi 2006, Credit risk scorecards, chapter 9)."""
MISSING_WATCH, MISSING_ACT = 0.05, 0.2
"""Change in the share of missing values."""
RATIO = (0.8, 1.25)
"""Predicted over actual outside of which, by its whole interval, a version is miscalibrated."""
SURE = 0.999
FEWEST = 30
"""Rewards without which nothing is said of calibration."""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One feature, or the scores, then and now."""

    name: str
    index: float
    """Population stability index: sum of (q - p) log(q / p) over bins."""
    by_chance: float
    """What two samples of the same would hardly exceed."""
    missing_before: float
    missing_now: float

    @property
    def state(self) -> State:
        moved = abs(self.missing_now - self.missing_before)
        if self.index <= self.by_chance:
            return "ok"
        if self.index > ACT or moved > MISSING_ACT:
            return "act"
        return "watch" if self.index > WATCH or moved > MISSING_WATCH else "ok"


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What one version served lately, of which the rewards have come."""

    label: str
    """`name/version`, or the rung that chose without a model."""
    exposures: int
    rewarded: int
    rate: Interval
    ratio: Interval | None
    """Mean predicted over actual; None where nothing comparable was predicted."""
    ece: float | None

    @property
    def state(self) -> State:
        if self.ratio is None or self.rewarded < FEWEST:
            return "ok"
        low, high = RATIO
        if self.ratio.low > high or self.ratio.high < low:
            return "act"
        return "watch" if not low <= self.ratio.value <= high else "ok"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    """Of the version looked at."""
    before: tuple[str, str, int]
    """From, until (days), and exposures of the time compared with."""
    now: tuple[str, str, int]
    features: list[Drift]
    """From the largest index to the smallest."""
    scores: Drift
    versions: list[Version]

    @property
    def state(self) -> State:
        states = [it.state for it in (*self.features, self.scores)] + [it.state for it in self.versions]
        return "act" if "act" in states else "watch" if "watch" in states else "ok"


def compare(name: str, before: Floats, now: Floats, units: tuple[int, int], *, is_category: bool = False) -> Drift:
    """`before` (n,) and `now` (m,) with NaN for missing; `units` are the customers of each, who are independent.

    Numbers are binned by quantiles of what was before, categories each for itself; missing is a bin of its own, and
    half a row is added to each bin.
    """
    (old, new) = (_bin(before, before, is_category), _bin(before, now, is_category))
    size = int(max(old.max(initial=0), new.max(initial=0))) + 1
    p, q = (np.bincount(codes, minlength=size) for codes in (old, new))
    used = (p + q) > 0
    shares = [(count[used] + 0.5) / (count[used].sum() + 0.5 * used.sum()) for count in (p, q)]
    index = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    return Drift(
        name=name,
        index=index,
        by_chance=expect_by_chance(int(used.sum()), *units),
        missing_before=float(np.isnan(before).mean()),
        missing_now=float(np.isnan(now).mean()),
    )


def expect_by_chance(bins: int, before: int, now: int) -> float:
    """What the index of two samples of one population exceeds once in 1,000 times: it is (1/n + 1/m) times a chi-square
    of bins - 1 (Yurdakul 2018, Statistical properties of the population stability index, section 3), whose quantile is
    that of Wilson and Hilferty 1931.
    """
    freedom = bins - 1
    if freedom < 1:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    quantile = freedom * (1.0 - spread + NormalDist().inv_cdf(SURE) * sqrt(spread)) ** 3
    return (1.0 / max(before, 1) + 1.0 / max(now, 1)) * quantile


def _bin(reference: Floats, values: Floats, is_category: bool) -> Ints:
    """(n,) the bin of each value; 0 for missing ones."""
    known = reference[~np.isnan(reference)]
    missing = np.isnan(values)
    codes = np.zeros(len(values), np.int64)
    if is_category:
        levels, counts = np.unique(known, return_counts=True)
        levels = np.sort(levels[np.argsort(-counts, kind="stable")[:LEVELS]])
        place = np.minimum(np.searchsorted(levels, values[~missing]), max(len(levels) - 1, 0))
        same = levels[place] == values[~missing] if len(levels) else np.zeros(len(place), np.bool_)
        codes[~missing] = np.where(same, place + 2, 1)
        return codes
    edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, BINS + 1)[1:-1])) if len(known) else np.empty(0)
    # Of a value that many rows share, as 0 of a count, both sides are bins of their own.
    codes[~missing] = 1 + np.searchsorted(edges, values[~missing]) + np.searchsorted(edges, values[~missing], "right")
    return codes


def judge(
    label: str, customers: list[str], predicted: Floats, rewarded: Flags, seed: int = 0, *, comparable: bool = True
) -> Version:
    """`predicted` (n,) are the propensities as logged, NaN where none was; intervals are over customers."""
    unit, units = number(customers)
    hits = rewarded.astype(np.float64)
    known = bool(comparable and len(predicted) and not np.isnan(predicted).any())
    totals = {"rate": total(hits, unit, units)}
    if known:
        totals["ratio"] = total(predicted, unit, units, hits)
    drawn = resample(totals, units, seed)
    ratio = enclose(float(predicted.sum() / hits.sum()), drawn["ratio"]) if known and hits.any() else None
    return Version(
        label=label,
        exposures=len(hits),
        rewarded=int(hits.sum()),
        rate=enclose(float(hits.mean()), drawn["rate"]),
        ratio=ratio,
        ece=measure_ece(predicted, rewarded) if known else None,
    )
