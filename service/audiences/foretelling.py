"""Features and propensities of many customers at once: what `choose` would work out for each, value by value, at a
fraction of the calls of numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.columns import decode_blank, decode_rows
from features.aggregates.rows import LAYOUTS
from features.ids import digest
from features.lifetimes import is_expired
from models.bundle import calibrate
from models.matrix import States, Subjects, compute, moment
from models.referrers import referrer_of
from service.decisions.question import Foretold
from service.decisions.scoring import LAST_VIEWED
from service.decisions.valuing import MODEL
from service.decisions.variants import assign_variants
from service.experiments.variation import vary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from features.aggregates.columns import Columns
    from models.bundle import Bundle
    from service.audiences.planning import Plan
    from service.audiences.selecting import Member
    from service.decisions.frame import Frame
    from service.experiments.variation import Variation

    Floats = NDArray[np.float64]

AT_ONCE = 2500
"""Rows of features that stay in a processor's cache."""


def foretell(plan: Plan, members: Sequence[Member], columns: Columns) -> Sequence[Foretold | None]:
    """Of each member, whose states are `columns`; None where `choose` asks for nothing of that kind.

    Those for whom variants of experiments make it another pool or another model are worked out apart.
    """
    compiled = plan.frame.compiled
    here = compiled.varying[plan.placement]
    if not (here.effects or here.rolled_out):
        return _foretell_alike(plan, columns)
    alike: dict[tuple[tuple[str, str] | None, str, str], tuple[Variation, list[int]]] = {}
    for at, member in enumerate(members):
        variation = vary(compiled, plan.placement, assign_variants(member.question, None).variants)
        key = variation.competing, variation.placement.model, variation.placement.value_from
        alike.setdefault(key, (variation, []))[1].append(at)
    told: list[Foretold | None] = [None] * len(members)
    for variation, places in alike.values():
        found = _foretell_alike(_vary(plan, variation), columns.take(np.array(places)))
        for at, one in zip(places, found, strict=True):
            told[at] = one
    return told


def _vary(plan: Plan, variation: Variation) -> Plan:
    frame, name = plan.frame, plan.placement
    pool = frame.pools[name] if variation.competing is None else frame.varied[*variation.competing, name]
    pool = msgspec.structs.replace(pool, placement=variation.placement)
    return msgspec.structs.replace(plan, frame=msgspec.structs.replace(frame, pools={**frame.pools, name: pool}))


def _foretell_alike(plan: Plan, columns: Columns) -> Sequence[Foretold | None]:
    """Of each row of `columns`, for the pool of the plan."""
    frame, pool = plan.frame, plan.frame.pools[plan.placement]
    bundle = None if frame.head is None else plan.models.get(pool.placement.model)
    size = len(pool.places)
    if not size or not columns.size or (bundle is None and not pool.needs_features):
        return [None] * columns.size
    step = max(AT_ONCE // size, 1)
    return [
        told
        for start in range(0, columns.size, step)
        for told in _foretell(plan, bundle, columns.take(np.arange(start, min(start + step, columns.size))))
    ]


def _foretell(plan: Plan, bundle: Bundle | None, columns: Columns) -> list[Foretold]:
    pool = plan.frame.pools[plan.placement]
    size = len(pool.places)
    features = _features(plan, columns)
    spans = [slice(at * size, (at + 1) * size) for at in range(columns.size)]
    scored: list[Floats | None] = [None] * columns.size
    valued: list[Floats | None] = [None] * columns.size
    if bundle is not None:
        matrix = bundle.encoder.encode(features)
        # One customer at a time: what the rows of one share is decided once.
        raw = np.concatenate([bundle.score(matrix[span]) for span in spans])
        propensity = calibrate(bundle.description.calibration, raw)
        scored = [propensity[span] for span in spans]
        if pool.placement.value_from == MODEL and bundle.appraiser is not None:
            valued = [bundle.appraise(matrix[span]) for span in spans]
    if not (pool.needs_features or plan.explain):
        return [Foretold({}, each, value) for each, value in zip(scored, valued, strict=True)]
    return [
        Foretold({name: values[span] for name, values in features.items()}, each, value)
        for span, each, value in zip(spans, scored, valued, strict=True)
    ]


def _features(plan: Plan, columns: Columns) -> dict[str, Floats]:
    frame, pool = plan.frame, plan.frame.pools[plan.placement]
    now, count, size = plan.at / 1e6, columns.size, len(pool.places)
    hour, weekday = moment(now, frame.compiled.zone)
    states = States(
        customers=columns,
        candidates={name: np.tile(values[pool.places], count) for name, values in frame.candidates_at(now).items()},
        successors=_successors(frame, columns.head[:, LAST_VIEWED].astype(np.int64).tolist()),
    )
    subjects = Subjects(
        now=np.full(count, now),
        owner=np.arange(count).repeat(size),
        candidate=np.tile(pool.ids, count),
        category=np.tile(pool.categories, count),
        kind=np.tile(pool.kinds, count),
        price=np.tile(pool.price, count),
        value=np.tile(pool.value, count),
        hour=np.full(count, hour),
        weekday=np.full(count, weekday),
        device=np.full(count, digest("")),
        referrer=np.full(count, digest(referrer_of({}))),
        placement=np.full(count, digest(plan.placement)),
    )
    return compute(states, subjects)


def _successors(frame: Frame, last: list[int]) -> Columns:
    layout = LAYOUTS["successors"]
    blank = decode_blank(layout)
    rows = []
    for item in last:
        row = frame.successors.get(item)
        missing = row is None or (frame.head is not None and is_expired("successors", row.applied, frame.head.time))
        rows.append((blank.numbers, blank.ids) if row is None or missing else (row.numbers, row.ids))
    return decode_rows(layout, rows)
