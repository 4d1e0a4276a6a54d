"""The model beside the baselines: every metric with its interval, paired differences, new and returning customers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.evaluation import Reliability, bin_reliability, losses, measure_ece, place, rank
from training.intervals import Interval, Total, enclose, number, resample, total

if TYPE_CHECKING:
    from training.baselines import Scored
    from training.labels import Flags, Floats, Queries

NDCG, HIT, RECIPROCAL = "NDCG@10", "HR@10", "MRR"
AUC, LOSS, ECE, RATIO = "AUC", "log loss", "ECE", "predicted / actual"
HIGHER = frozenset({NDCG, HIT, RECIPROCAL, AUC})
"""Metrics of which more is better; of the others less is."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One method."""

    name: str
    metrics: dict[str, Interval]
    replicates: dict[str, Floats]
    new: dict[str, float]
    """Ranking metrics of customers without a past, and of the others."""
    returning: dict[str, float]
    reliability: Reliability | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    model: Judged
    baselines: list[Judged]
    queries: int
    ranked: int
    """Queries with something rewarded; 0 where slates are not ranked."""
    rows: int
    rewarded: int

    def difference(self, metric: str, baseline: Judged) -> Interval | None:
        """The model's value minus the baseline's, paired; None if one of them has none."""
        mine, theirs = self.model.metrics.get(metric), baseline.metrics.get(metric)
        if mine is None or theirs is None:
            return None
        if metric not in self.model.replicates or metric not in baseline.replicates:
            return None
        return enclose(mine.value - theirs.value, self.model.replicates[metric] - baseline.replicates[metric])


def judge(queries: Queries, known: Flags, model: Scored, baselines: list[Scored], seed: int) -> Comparison:
    """`known` (d,) tells returning customers from new ones."""
    hits = np.bincount(queries.owner, queries.rewarded, minlength=len(queries))
    ranked = queries.kind == "bootstrap"
    return Comparison(
        model=_judge(queries, known, model, ranked, seed),
        baselines=[_judge(queries, known, baseline, ranked, seed) for baseline in baselines],
        queries=len(queries),
        ranked=int((hits > 0).sum()) if ranked else 0,
        rows=len(queries.owner),
        rewarded=int(queries.rewarded.sum()),
    )


def _judge(queries: Queries, known: Flags, scored: Scored, ranked: bool, seed: int) -> Judged:
    unit, units = number(queries.customers)
    of_row = unit[queries.owner]
    rewarded = queries.rewarded
    totals: dict[str, Total] = {}
    new: dict[str, float] = {}
    returning: dict[str, float] = {}
    if ranked:
        ranking = rank(scored.score, rewarded, queries.owner, len(queries), seed)
        for name, values in ((NDCG, ranking.ndcg), (HIT, ranking.hit), (RECIPROCAL, ranking.reciprocal)):
            totals[name] = total(values, unit, units)
            new[name], returning[name] = _mean(values[~known]), _mean(values[known])
    probability = scored.probability
    if probability is not None:
        totals[LOSS] = total(losses(probability, rewarded), of_row, units)
        totals[RATIO] = total(probability, of_row, units, rewarded.astype(np.float64))
    # The AUC to first order: a mean of placement values over the rewarded rows, plus one over the others, minus itself.
    placed = place(scored.score, rewarded)
    halves = {label: total(np.where(rewarded == label, placed, np.nan), of_row, units) for label in (True, False)}
    drawn = resample(totals | {f"{AUC} {label}": half for label, half in halves.items()}, units, seed)
    area = _ratio(halves[True])
    replicates = {name: drawn[name] for name in totals}
    replicates[AUC] = drawn[f"{AUC} True"] + drawn[f"{AUC} False"] - area
    metrics = {name: enclose(_ratio(each), replicates[name]) for name, each in totals.items()}
    metrics[AUC] = enclose(area, replicates[AUC])
    if probability is not None:
        ece = measure_ece(probability, rewarded)
        metrics[ECE] = Interval(ece, float("nan"), float("nan"))
    return Judged(
        name=scored.name,
        metrics=metrics,
        replicates=replicates,
        new=new,
        returning=returning,
        reliability=None if probability is None else bin_reliability(probability, rewarded),
    )


def _mean(values: Floats) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _ratio(of: Total) -> float:
    below = float(of.below.sum())
    return float(of.above.sum()) / below if below else float("nan")
