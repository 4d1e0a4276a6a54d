"""What is measured of scores: every metric with its interval, and the replicates that the interval is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.evaluation import earn, losses, measure_ece, place, rank
from training.intervals import Interval, Total, enclose, resample, total

if TYPE_CHECKING:
    from training.baselines import Scored
    from training.labels import Flags, Floats, Ints

NDCG, HIT, RECIPROCAL = "NDCG@10", "HR@10", "MRR"
AUC, LOSS, ECE, RATIO = "AUC", "log loss", "ECE", "predicted / actual"
VALUE = "value@1"
"""What the candidate of the highest propensity x value earned, a query: what it brought where that is known, else its
value where it was rewarded, else 0."""
HIGHER = frozenset({NDCG, HIT, RECIPROCAL, AUC, VALUE})
"""Metrics of which more is better; of the others less is."""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What metrics are computed from: r rows of d queries of some customers."""

    owner: Ints
    rewarded: Flags
    unit: Ints
    """(d,) the number of each query's customer."""
    units: int
    ranked: bool
    worth: Floats | None
    """(r,) the value of each row's candidate."""
    brought: Floats | None = None
    """(r,) what each row brought, NaN where that is not known; None: nobody asked."""


def measure(rows: Rows, scored: Scored, seed: int) -> tuple[dict[str, Interval], dict[str, Floats]]:
    """Every metric with its interval, and the replicates that the interval is of."""
    score, probability = scored.score, scored.probability
    of_row, rewarded = rows.unit[rows.owner], rows.rewarded
    totals: dict[str, Total] = {}
    if rows.ranked:
        for name, values in rank_queries(rows, score, seed).items():
            totals[name] = total(values, rows.unit, rows.units)
    if rows.worth is not None:
        value = rows.worth if scored.value is None else scored.value
        priority = score if probability is None else probability * value
        gained = rewarded * rows.worth if rows.brought is None else np.where(rewarded, rows.brought, 0.0)
        totals[VALUE] = total(earn(priority, gained, rows.owner, len(rows.unit), seed), rows.unit, rows.units)
    if probability is not None:
        totals[LOSS] = total(losses(probability, rewarded), of_row, rows.units)
        totals[RATIO] = total(probability, of_row, rows.units, rewarded.astype(np.float64))
    # The AUC to first order: a mean of placement values over the rewarded rows, plus one over the others, minus itself.
    placed = place(score, rewarded)
    halves = {label: total(np.where(rewarded == label, placed, np.nan), of_row, rows.units) for label in (True, False)}
    drawn = resample(totals | {f"{AUC} {label}": half for label, half in halves.items()}, rows.units, seed)
    area = _ratio(halves[True])
    replicates = {name: drawn[name] for name in totals}
    replicates[AUC] = drawn[f"{AUC} True"] + drawn[f"{AUC} False"] - area
    metrics = {name: enclose(_ratio(each), replicates[name]) for name, each in totals.items()}
    metrics[AUC] = enclose(area, replicates[AUC])
    if probability is not None:
        metrics[ECE] = Interval(measure_ece(probability, rewarded), float("nan"), float("nan"))
    return metrics, replicates


def rank_queries(rows: Rows, score: Floats, seed: int) -> dict[str, Floats]:
    """The ranking metrics of each query."""
    ranking = rank(score, rows.rewarded, rows.owner, len(rows.unit), seed)
    return {NDCG: ranking.ndcg, HIT: ranking.hit, RECIPROCAL: ranking.reciprocal}


def _ratio(of: Total) -> float:
    below = float(of.below.sum())
    return float(of.above.sum()) / below if below else float("nan")
