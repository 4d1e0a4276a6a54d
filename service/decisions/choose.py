"""The decision itself, as a pure function: states closed at `now`, variants, eligibility, scores, slates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from features.aggregates.columns import Columns, close, decode_blank, decode_rows
from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, blank, pack, unpack
from features.ids import digest
from models.matrix import States, Subjects, compute, device_of, moment, zone_of
from models.policy import Pick, order, pick, prioritise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from features.events.occurrences import Occurrence
    from features.store import Packed
    from models.bundle import Bundle
    from service.catalog.schema import Placement
    from service.decisions.frame import Frame
    from service.decisions.schema import AskedPlacement

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Rung = Literal["model", "prior", "static"]
RUNGS: tuple[Rung, ...] = ("model", "prior", "static")

LAST_VIEWED = "customer__product_viewed_candidate__last"
PRIOR_RATE = "candidate__promotion__rate_30d"
PRIOR_ORDERS = "candidate__order_completed__share_7d"
PRIOR_VIEWS = "candidate__product_viewed__share_7d"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision depends on."""

    decision_id: str
    now: int
    """Microseconds since the epoch."""
    placements: list[AskedPlacement]
    context: dict[str, Any]
    flags: dict[str, str]
    state: Packed | None
    """The customer's row; None for one without events."""
    occurrences: list[Occurrence]
    """Inline events, in order."""
    frame: Frame
    models: Mapping[str, Bundle]
    """Alias -> model."""
    rung: Rung
    """The best rung that may be used: `prior` when the customer's row could not be read."""


class Slate(msgspec.Struct, frozen=True, kw_only=True):
    """What one placement shows, and all that led to it. Arrays are over `pool`."""

    placement: Placement
    asked: AskedPlacement
    rung: Rung
    exploration: float
    bundle: Bundle | None
    pool: Ints
    picks: list[Pick]
    """`at` is a position in `pool`."""
    fell_back: bool
    """Nothing might be shown, so the default is (not in `picks`)."""
    propensity: Floats | None
    priority: Floats
    features: dict[str, Floats]
    rejected: dict[str, list[str]]


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    rung: Rung
    slates: list[Slate]
    variants: dict[str, str]


class _Customer(msgspec.Struct, frozen=True):
    """The customer's side of the features."""

    columns: Columns
    successors: Columns


def choose(question: Question) -> Chosen:
    """Fill every placement in the order asked, no candidate twice."""
    customer = _open_customer(question)
    shown: set[int] = set()
    slates = []
    for asked in question.placements:
        slate = _fill(question, customer, asked, shown)
        shown.update(int(slate.pool[chosen.at]) for chosen in slate.picks)
        if slate.fell_back:
            shown.add(question.frame.compiled.place[slate.placement.default])
        slates.append(slate)
    rung = max((slate.rung for slate in slates), key=RUNGS.index)
    return Chosen(rung=rung, slates=slates, variants=dict(question.flags))


def _open_customer(question: Question) -> _Customer:
    layout = LAYOUTS["customer"]
    state = question.state
    if question.occurrences:
        # Applied to a copy: the worker applies the same events once more when they come through the stream.
        row = blank(layout, "") if state is None else unpack(layout, "", state.applied, state.numbers, state.ids)
        for occurrence in question.occurrences:
            advance_customer(row, occurrence)
        columns = decode_rows(layout, [pack(row)])
    elif state is None:
        columns = decode_blank(layout)
    else:
        columns = decode_rows(layout, [(state.numbers, state.ids)])
    after = LAYOUTS["successors"]
    last = int(close(columns, np.array([question.now / 1e6]))[LAST_VIEWED][0])
    row_after = question.frame.successors.get(last)
    successors = decode_blank(after) if row_after is None else decode_rows(after, [(row_after.numbers, row_after.ids)])
    return _Customer(columns, successors)


def _fill(question: Question, customer: _Customer, asked: AskedPlacement, shown: set[int]) -> Slate:
    compiled = question.frame.compiled
    placement = compiled.placements[asked.id]
    exploration, alias = _parameters(question, placement)
    pool, rejected = _screen(question, asked, shown)
    bundle = question.models.get(alias) if question.rung == "model" else None
    rung: Rung = "static" if question.frame.head is None else question.rung
    if rung == "model" and bundle is None:
        rung = "prior"
    features: dict[str, Floats] = {}
    propensity: Floats | None = None
    if len(pool) and rung != "static":
        features = compute(*_subjects(question, customer, placement, pool))
        propensity = _prior(features) if rung == "prior" or bundle is None else bundle.propensities(features)
    if propensity is None:
        # The catalog's order: its first candidate has the highest priority.
        priority = np.arange(len(pool), 0, -1) / (len(pool) + 1.0)
    else:
        priority = prioritise(propensity, compiled.value[pool], compiled.weight[pool])
    limit = asked.limit or placement.limit
    picks = pick(order(priority), [True] * len(pool), limit, exploration, question.decision_id, placement.id)
    return Slate(
        placement=placement,
        asked=asked,
        rung=rung,
        exploration=exploration,
        bundle=bundle if rung == "model" else None,
        pool=pool,
        picks=picks,
        fell_back=not picks and compiled.place[placement.default] not in shown,
        propensity=propensity,
        priority=priority,
        features=features,
        rejected=rejected,
    )


def _parameters(question: Question, placement: Placement) -> tuple[float, str]:
    """Exploration and model alias of a placement under the variants in force."""
    exploration, alias = placement.exploration, placement.model
    for experiment in question.frame.compiled.document.experiments:
        name = question.flags.get(experiment.id)
        if name is None or (experiment.placements is not None and placement.id not in experiment.placements):
            continue
        variant = question.frame.compiled.variants[experiment.id][name]
        exploration = exploration if variant.exploration is None else variant.exploration
        alias = alias if variant.model is None else variant.model
    return exploration, alias


def _screen(question: Question, asked: AskedPlacement, shown: set[int]) -> tuple[Ints, dict[str, list[str]]]:
    """(kept, rejected): positions of the candidates that may be shown here, and the others by reason."""
    frame = question.frame
    rejected: dict[str, list[str]] = {}
    if asked.candidates is None:
        pool = frame.pools[asked.id]
    else:
        place = frame.compiled.place
        wanted = list(dict.fromkeys(asked.candidates))
        pool = np.array([place[text] for text in wanted if text in place], np.int64)
        if unknown := [text for text in wanted if text not in place]:
            rejected["unknown_candidate"] = unknown
    if shown:
        again = np.isin(pool, list(shown))
        if again.any():
            rejected["shown_on_page"] = [frame.compiled.candidates[at].id for at in pool[again]]
            pool = pool[~again]
    return pool, rejected


def _subjects(question: Question, customer: _Customer, placement: Placement, pool: Ints) -> tuple[States, Subjects]:
    frame, compiled = question.frame, question.frame.compiled
    now = question.now / 1e6
    hour, weekday = moment(now, zone_of(question.context, compiled.zone))
    states = States(
        customers=customer.columns,
        candidates=frame.candidates.take(pool),
        totals=frame.totals,
        successors=customer.successors,
    )
    return states, Subjects(
        now=np.array([now]),
        owner=np.zeros(len(pool), np.int64),
        candidate=compiled.ids[pool],
        category=compiled.categories[pool],
        kind=compiled.kinds[pool],
        price=compiled.price[pool],
        value=compiled.value[pool],
        hour=np.array([hour]),
        weekday=np.array([weekday]),
        device=np.array([digest(device_of(question.context))]),
        placement=np.array([digest(placement.id)]),
    )


def _prior(features: dict[str, Floats]) -> Floats:
    """Smoothed popularity: the click rate, its odds raised by the shares of orders and views."""
    rate = features[PRIOR_RATE]
    raised = rate * (1.0 + features[PRIOR_ORDERS] + features[PRIOR_VIEWS])
    prior: Floats = raised / (raised + 1.0 - rate)
    return prior
