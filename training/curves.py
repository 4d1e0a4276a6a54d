"""Intervals, over customers, of what is no ratio of sums: the calibration error, and the lift curve at some shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.evaluation import ECE_BINS
from training.intervals import Interval, enclose, resample_sums

if TYPE_CHECKING:
    from training.labels import Flags, Floats, Ints

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The lift curve at one share of the rows, best first."""

    share: float
    found: Interval
    """Share of all rewards that is in them."""
    lift: Interval
    """Their rate over the mean rate."""


def mark_lift(score: Floats, rewarded: Flags, unit: Ints, units: int, seed: int) -> list[Mark]:
    """The lift curve at SHARES; `unit` (r,) is each row's customer. Empty without a reward.

    A replicate's curve is straight between the rows that stand at SHARES, and rows of equal score are found at the rate
    of them all.
    """
    if not rewarded.any():
        return []
    size = len(score)
    order = np.argsort(-score, kind="stable")
    falling = -score[order]
    last = falling[np.maximum(np.ceil(np.array(SHARES) * size).astype(np.int64) - 1, 0)]
    bounds = [np.searchsorted(falling, last, side) for side in ("left", "right")]
    knots = np.unique(np.concatenate([[0], *bounds, [size]]))
    block = np.empty(size, np.int64)
    block[order] = np.searchsorted(knots, np.arange(size), "right") - 1
    sums = [_sum(values, block, len(knots) - 1, unit, units) for values in (np.ones(size), rewarded)]
    drawn = resample_sums(np.hstack(sums), units, seed)
    rows, hits = (_accumulate(it) for it in np.hsplit(drawn, 2))
    # One without a reward has no curve.
    replicates = np.array([np.interp(SHARES, *it) * (it[1][-1] or np.nan) for it in zip(rows, hits, strict=True)])
    curve = np.concatenate([[0.0], np.cumsum(np.bincount(block, rewarded)) / rewarded.sum()])
    found = np.interp(SHARES, knots / size, curve)
    return [
        Mark(share=share, found=enclose(value, drawn), lift=enclose(value / share, drawn / share))
        for share, value, drawn in zip(SHARES, found.tolist(), replicates.T, strict=True)
    ]


def enclose_ece(probability: Floats, rewarded: Flags, unit: Ints, units: int, seed: int) -> Interval:
    """The calibration error in the bins that it was measured in. Replicates have a larger one, by their own chance:
    that bias, as the bootstrap estimates it (Efron, Tibshirani 1993, section 10.2), is taken out.
    """
    size = len(probability)
    edges = np.unique(np.linspace(0, size, min(ECE_BINS, size) + 1).astype(np.int64))
    block = np.empty(size, np.int64)
    block[np.argsort(probability, kind="stable")] = np.searchsorted(edges, np.arange(size), "right") - 1
    gaps = _sum(probability - rewarded, block, len(edges) - 1, unit, units)
    value = float(np.abs(gaps.sum(axis=0)).sum()) / size
    drawn = resample_sums(np.column_stack([gaps, np.bincount(unit, minlength=units)]), units, seed)
    replicates = np.abs(drawn[:, :-1]).sum(axis=1) / drawn[:, -1]
    return enclose(value, np.maximum(replicates - (replicates.mean() - value), 0.0))


def _sum(values: Floats | Flags, block: Ints, blocks: int, unit: Ints, units: int) -> Floats:
    """(units, blocks)"""
    cells: Floats = np.bincount(unit * blocks + block, values, minlength=units * blocks).astype(np.float64)
    return cells.reshape(units, blocks)


def _accumulate(drawn: Floats) -> Floats:
    """(replicates, blocks + 1) shares, from 0 to 1; 0 throughout where there is nothing."""
    summed = np.cumsum(drawn, axis=1)
    return np.column_stack([np.zeros(len(summed)), summed / np.maximum(summed[:, -1:], 1e-12)])
