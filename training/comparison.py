"""The model beside the baselines: every metric with its interval, paired differences, and the model slice by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.evaluation import Lift, Reliability, bin_reliability, curve_lift, earn, losses, measure_ece, place, rank
from training.intervals import Interval, Total, enclose, number, resample, total

if TYPE_CHECKING:
    from training.baselines import Scored
    from training.labels import Flags, Floats, Ints, Queries

NDCG, HIT, RECIPROCAL = "NDCG@10", "HR@10", "MRR"
AUC, LOSS, ECE, RATIO = "AUC", "log loss", "ECE", "predicted / actual"
VALUE = "value@1"
"""What the candidate of the highest propensity x value earned, a query: what it brought where that is known, else its
value where it was rewarded, else 0."""
HIGHER = frozenset({NDCG, HIT, RECIPROCAL, AUC, VALUE})
"""Metrics of which more is better; of the others less is."""
SLICES, SMALLEST_SLICE = 12, 20
"""Most values of one attribute that are told apart, and the fewest rewards that a slice needs."""


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


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The model on some of the queries: those whose `attribute` has the value; the attribute `all` is of all."""

    attribute: str
    value: str
    queries: int
    rewarded: int
    metrics: dict[str, Interval]


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
    everything = Slice(attribute="all", value="", queries=len(queries), rewarded=rewarded, metrics=judged.metrics)
    return Comparison(
        model=judged,
        baselines=[_judge(rows, known, baseline, seed) for baseline in baselines],
        queries=len(queries),
        ranked=int((hits > 0).sum()) if ranked else 0,
        rows=len(queries.owner),
        rewarded=rewarded,
        slices=[everything, *_slice(queries, known, rows, model, seed)],
    )


def _judge(rows: Rows, known: Flags, scored: Scored, seed: int) -> Judged:
    new: dict[str, float] = {}
    returning: dict[str, float] = {}
    if rows.ranked:
        for name, values in _rank(rows, scored.score, seed).items():
            new[name], returning[name] = _mean(values[~known]), _mean(values[known])
    metrics, replicates = _measure(rows, scored, seed)
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


def _slice(queries: Queries, known: Flags, rows: Rows, model: Scored, seed: int) -> list[Slice]:
    """The model by placement, device, referrer and past, where an attribute has at least two values."""
    past = np.where(known, "returning", "new")
    attributes = {"placement": queries.placement, "device": queries.device, "referrer": queries.referrer}
    found = []
    for attribute, texts in {**attributes, "customer": past.tolist()}.items():
        values, of, counts = np.unique(np.array(texts, object), return_inverse=True, return_counts=True)
        if len(values) < 2:
            continue
        for at in np.argsort(-counts, kind="stable")[:SLICES].tolist():
            keep = of == at
            of_rows = keep[rows.owner]
            if (rewarded := int(rows.rewarded[of_rows].sum())) < SMALLEST_SLICE:
                continue
            metrics, _ = _measure(_part(rows, keep, of_rows), model.only(of_rows), seed)
            value = str(values[at]) or "(unknown)"
            found.append(
                Slice(attribute=attribute, value=value, queries=int(keep.sum()), rewarded=rewarded, metrics=metrics)
            )
    return found


def _part(rows: Rows, keep: Flags, of_rows: Flags) -> Rows:
    customers, unit = np.unique(rows.unit[keep], return_inverse=True)
    return Rows(
        owner=(np.cumsum(keep) - 1)[rows.owner[of_rows]],
        rewarded=rows.rewarded[of_rows],
        unit=unit,
        units=len(customers),
        ranked=rows.ranked,
        worth=None if rows.worth is None else rows.worth[of_rows],
        brought=None if rows.brought is None else rows.brought[of_rows],
    )


def _measure(rows: Rows, scored: Scored, seed: int) -> tuple[dict[str, Interval], dict[str, Floats]]:
    """Every metric with its interval, and the replicates that the interval is of."""
    score, probability = scored.score, scored.probability
    of_row, rewarded = rows.unit[rows.owner], rows.rewarded
    totals: dict[str, Total] = {}
    if rows.ranked:
        for name, values in _rank(rows, score, seed).items():
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


def _rank(rows: Rows, score: Floats, seed: int) -> dict[str, Floats]:
    ranking = rank(score, rows.rewarded, rows.owner, len(rows.unit), seed)
    return {NDCG: ranking.ndcg, HIT: ranking.hit, RECIPROCAL: ranking.reciprocal}


def _mean(values: Floats) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def _ratio(of: Total) -> float:
    below = float(of.below.sum())
    return float(of.above.sum()) / below if below else float("nan")
