"""Bootstrap over customers: intervals of metrics and of paired differences (Efron, Tibshirani 1993, chapter 13).

All methods are resampled with the same draws, so a difference of replicates is a paired one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.labels import Floats, Ints

REPLICATES = 300
LOW, HIGH = 2.5, 97.5
CELLS = 4_000_000
"""Weights held at once."""


class Interval(msgspec.Struct, frozen=True):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class Total(msgspec.Struct, frozen=True):
    """A ratio of sums over customers: numerator and denominator of each customer."""

    above: Floats
    below: Floats


def number(customers: list[str]) -> tuple[Ints, int]:
    """(the number of each query's customer, how many customers there are)."""
    known = {text: at for at, text in enumerate(dict.fromkeys(customers))}
    return np.array([known[text] for text in customers], np.int64), len(known)


def total(values: Floats, unit: Ints, units: int, weight: Floats | None = None) -> Total:
    """Sums by customer of `values` (NaN: left out), over the number of them or the sum of `weight`."""
    present = ~np.isnan(values)
    below = present.astype(np.float64) if weight is None else weight
    above = np.where(present, values, 0.0)
    sums = [np.bincount(unit, each, minlength=units).astype(np.float64) for each in (above, below)]
    return Total(*sums)


def weigh(units: int, seed: int, replicates: int = REPLICATES) -> Iterator[Floats]:
    """Blocks (b, units) of how often each customer was drawn, with replacement, by each replicate."""
    generator = np.random.default_rng(seed)
    left = replicates
    while left:
        block = min(left, max(1, CELLS // units))
        drawn = generator.integers(units, size=(block, units)) + np.arange(block)[:, None] * units
        yield np.bincount(drawn.ravel(), minlength=block * units).reshape(block, units).astype(np.float64)
        left -= block


def resample(totals: dict[str, Total], units: int, seed: int) -> dict[str, Floats]:
    """Replicates of each ratio; NaN of one customer, who differs from nobody."""
    if units < 2:
        return {name: np.full(REPLICATES, np.nan) for name in totals}
    parts: dict[str, list[Floats]] = {name: [] for name in totals}
    with np.errstate(invalid="ignore", divide="ignore"):
        for weights in weigh(units, seed):
            for name, each in totals.items():
                parts[name].append((weights @ each.above) / (weights @ each.below))
    return {name: np.concatenate(values) for name, values in parts.items()}


def resample_sums(sums: Floats, units: int, seed: int) -> Floats:
    """(replicates, k) of k sums by customer, `sums` (units, k); drawn as `resample` draws."""
    if units < 2:
        return np.full((REPLICATES, sums.shape[1]), np.nan)
    return np.concatenate([weights @ sums for weights in weigh(units, seed)])


def enclose(value: float, replicates: Floats) -> Interval:
    present = replicates[np.isfinite(replicates)]
    if not len(present):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.percentile(present, [LOW, HIGH])
    return Interval(value, float(low), float(high))
