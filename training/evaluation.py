"""How well scores rank and how honest probabilities are: metrics by query and over rows. Pure numpy.

Ranking metrics skip queries without a rewarded candidate; ties are broken at random by the seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from training.labels import Flags, Floats, Ints

TOP = 10
ECE_BINS = 20
SMALLEST = 1e-7


class Ranking(msgspec.Struct, frozen=True):
    """Per query (NaN where nothing was rewarded): NDCG@k (Jarvelin, Kekalainen 2002, binary gains), hit rate@k and
    reciprocal rank of the first rewarded candidate."""

    ndcg: Floats
    hit: Floats
    reciprocal: Floats


def rank(score: Floats, rewarded: Flags, owner: Ints, queries: int, seed: int, k: int = TOP) -> Ranking:
    """`owner` is the query of each row, ascending."""
    ties = np.random.default_rng(seed).random(len(score))
    order = np.lexsort((ties, -score, owner))
    of = owner[order]
    gain = rewarded[order].astype(np.float64)
    place = np.arange(len(order)) - np.searchsorted(of, of) + 1
    found = np.bincount(of, gain, minlength=queries)
    top = place <= k
    dcg = np.bincount(of, gain * top / np.log2(place + 1.0), minlength=queries)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    best = np.full(queries, np.inf)
    hits = gain > 0
    np.minimum.at(best, of[hits], place[hits])
    nothing = found == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        ndcg = dcg / ideal[np.minimum(found, k).astype(np.int64)]
    return Ranking(
        np.where(nothing, np.nan, ndcg),
        np.where(nothing, np.nan, best <= k),
        np.where(nothing, np.nan, 1.0 / best),
    )


def earn(priority: Floats, earned: Floats, owner: Ints, queries: int, seed: int) -> Floats:
    """(queries,) what the candidate of the highest priority earned; NaN for a query without rows.

    Where candidates were chosen by a policy, this is what that policy's picks earned in another order: only off-policy
    estimates tell what another policy would have.
    """
    ties = np.random.default_rng(seed).random(len(priority))
    order = np.lexsort((ties, -priority, owner))
    of = owner[order]
    first = np.flatnonzero(np.concatenate([[True], of[1:] != of[:-1]])) if len(of) else np.zeros(0, np.int64)
    found = np.full(queries, np.nan)
    found[of[first]] = earned[order][first]
    return found


class Lift(msgspec.Struct, frozen=True):
    """Rows from the best score to the worst: at each share of them, the share of all rewards found, and how many times
    the mean rate theirs is."""

    share: Floats
    found: Floats
    lift: Floats


def curve_lift(score: Floats, rewarded: Flags, points: int = 100) -> Lift:
    """The cumulative lift curve; rows of equal score are found at the rate of them all. NaN without a reward."""
    if not len(score) or not rewarded.any():
        nothing = np.full(points, np.nan)
        return Lift(np.arange(1, points + 1) / points, nothing, nothing)
    values, of = np.unique(-score, return_inverse=True)
    rows = np.concatenate([[0.0], np.cumsum(np.bincount(of, minlength=len(values)))])
    hits = np.concatenate([[0.0], np.cumsum(np.bincount(of, rewarded, minlength=len(values)))])
    share = np.arange(1, points + 1) / points
    found = np.interp(share * len(score), rows, hits) / hits[-1]
    return Lift(share, found, found / share)


def place(score: Floats, rewarded: Flags) -> Floats:
    """Each row's share of the rows of the other label that it is on the right side of, ties counting half.

    These are the placement values of DeLong et al. 1988; their mean, over either label, is the AUC. NaN where all
    labels are alike.
    """
    hits = int(rewarded.sum())
    misses = len(rewarded) - hits
    if not hits or not misses:
        return np.full(len(score), np.nan)
    overall = _middle_ranks(score)
    placed = np.empty(len(score))
    placed[rewarded] = (overall[rewarded] - _middle_ranks(score[rewarded])) / misses
    placed[~rewarded] = 1.0 - (overall[~rewarded] - _middle_ranks(score[~rewarded])) / hits
    return placed


def _middle_ranks(values: Floats) -> Floats:
    """Ranks from 1, those of ties averaged."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(values)]]))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (counts + 1) / 2.0, counts)
    return ranks


def measure_auc(score: Floats, rewarded: Flags) -> float:
    """Area under the ROC curve; NaN when all labels are alike."""
    return float(place(score, rewarded)[rewarded].mean()) if rewarded.any() else float("nan")


def losses(probability: Floats, rewarded: Flags) -> Floats:
    """Log loss of each row, in nats."""
    inside = np.clip(probability, SMALLEST, 1.0 - SMALLEST)
    return -np.log(np.where(rewarded, inside, 1.0 - inside))


class Reliability(msgspec.Struct, frozen=True):
    """Rows in bins of equal size by predicted probability: mean predicted, mean actual, rows."""

    predicted: Floats
    actual: Floats
    rows: Floats


def bin_reliability(probability: Floats, rewarded: Flags, bins: int = ECE_BINS) -> Reliability:
    order = np.argsort(probability, kind="stable")
    edges = np.unique(np.linspace(0, len(order), min(bins, len(order)) + 1).astype(np.int64))
    rows = np.diff(edges)
    predicted = np.add.reduceat(probability[order], edges[:-1]) / rows
    actual = np.add.reduceat(rewarded[order].astype(np.float64), edges[:-1]) / rows
    return Reliability(predicted, actual, rows.astype(np.float64))


def measure_ece(probability: Floats, rewarded: Flags) -> float:
    """Expected calibration error (Naeini et al. 2015, eq. 3), in bins of equal size."""
    bins = bin_reliability(probability, rewarded)
    return float(np.average(np.abs(bins.predicted - bins.actual), weights=bins.rows))
