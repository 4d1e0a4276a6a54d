"""The model beside the baselines: every metric with its interval, paired differences, and the model slice by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training import slices
from training.evaluation import Lift, Reliability, bin_reliability, curve_lift
from training.intervals import Interval, enclose, number
from training.metrics import Rows, measure, rank_queries

if TYPE_CHECKING:
    from training.baselines import Scored
    from training.labels import Flags, Floats, Queries
    from training.slices import Slice


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One method."""

    name: str
    metrics: dict[str, Interval]
    replicates: dict[str, Floats]
    new: dict[str, float]
    """Ranking metrics of customers without a past, and of the others."""
    returning: dict[str, float]
    reliability: Reliability | None
    lift: Lift | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    model: Judged
    baselines: list[Judged]
    queries: int
    ranked: int
    """Queries with something rewarded; 0 where slates are not ranked."""
    rows: int
    rewarded: int
    slices: list[Slice] = []

    def difference(self, metric: str, baseline: Judged) -> Interval | None:
        """The model's value minus the baseline's, paired; None if one of them has none."""
        mine, theirs = self.model.metrics.get(metric), baseline.metrics.get(metric)
        if mine is None or theirs is None:
            return None
        if metric not in self.model.replicates or metric not in baseline.replicates:
            return None
        return enclose(mine.value - theirs.value, self.model.replicates[metric] - baseline.replicates[metric])


def judge(
    queries: Queries, known: Flags, model: Scored, baselines: list[Scored], seed: int, worth: Floats | None = None
) -> Comparison:
    """`known` (d,) tells returning customers from new ones; `worth` (r,) is the value that the catalog gives each row's
    candidate, by which those rank that say no value of their own.
    """
    unit, units = number(queries.customers)
    ranked = queries.kind == "bootstrap"
    rows = Rows(
        owner=queries.owner,
        rewarded=queries.rewarded,
        unit=unit,
        units=units,
        ranked=ranked,
        worth=worth,
        brought=queries.amount,
    )
    hits = np.bincount(queries.owner, queries.rewarded, minlength=len(queries))
    judged = _judge(rows, known, model, seed)
    rewarded = int(queries.rewarded.sum())
    everything = slices.look(rows, model, seed, "all", "", judged.metrics)
    return Comparison(
        model=msgspec.structs.replace(judged, metrics=everything.metrics),
        baselines=[_judge(rows, known, baseline, seed) for baseline in baselines],
        queries=len(queries),
        ranked=int((hits > 0).sum()) if ranked else 0,
        rows=len(queries.owner),
        rewarded=rewarded,
        slices=[everything, *slices.divide(queries, known, rows, model, seed)],
    )


def _judge(rows: Rows, known: Flags, scored: Scored, seed: int) -> Judged:
    new: dict[str, float] = {}
    returning: dict[str, float] = {}
    if rows.ranked:
        for name, values in rank_queries(rows, scored.score, seed).items():
            new[name], returning[name] = _mean(values[~known]), _mean(values[known])
    metrics, replicates = measure(rows, scored, seed)
    probability = scored.probability
    return Judged(
        name=scored.name,
        metrics=metrics,
        replicates=replicates,
        new=new,
        returning=returning,
        reliability=None if probability is None else bin_reliability(probability, rows.rewarded),
        lift=curve_lift(scored.score, rows.rewarded),
    )


def _mean(values: Floats) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")
