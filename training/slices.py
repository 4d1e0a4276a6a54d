"""The model slice by slice: by placement, device, referrer and past, each with every metric and its lift curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.curves import Mark, enclose_ece, mark_lift
from training.evaluation import Lift, curve_lift
from training.metrics import ECE, Rows, measure

if TYPE_CHECKING:
    from training.baselines import Scored
    from training.intervals import Interval
    from training.labels import Flags, Queries

SLICES, SMALLEST_SLICE = 12, 20
"""Most values of one attribute that are told apart, and the fewest rewards that a slice needs."""


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The model on some of the queries: those whose `attribute` has the value; the attribute `all` is of all."""

    attribute: str
    value: str
    queries: int
    rewarded: int
    metrics: dict[str, Interval]
    lift: Lift
    marks: list[Mark]
    """The lift curve's intervals."""


def divide(queries: Queries, known: Flags, rows: Rows, model: Scored, seed: int) -> list[Slice]:
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
            if int(rows.rewarded[of_rows].sum()) < SMALLEST_SLICE:
                continue
            part, mine = _part(rows, keep, of_rows), model.only(of_rows)
            metrics, _ = measure(part, mine, seed)
            found.append(look(part, mine, seed, attribute, str(values[at]) or "(unknown)", metrics))
    return found


def look(rows: Rows, model: Scored, seed: int, attribute: str, value: str, metrics: dict[str, Interval]) -> Slice:
    """The slice that these rows are, with what is told of the model alone: its lift curve, and the interval of its
    calibration error."""
    unit, rewarded = rows.unit[rows.owner], rows.rewarded
    if model.probability is not None:
        metrics = metrics | {ECE: enclose_ece(model.probability, rewarded, unit, rows.units, seed)}
    return Slice(
        attribute=attribute,
        value=value,
        queries=len(rows.unit),
        rewarded=int(rewarded.sum()),
        metrics=metrics,
        lift=curve_lift(model.score, rewarded),
        marks=mark_lift(model.score, rewarded, unit, rows.units, seed),
    )


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
