"""The decision itself, as a pure function: states closed at `now`, variants, eligibility, scores, slates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.policy import Pick, order, pick, prioritise
from service.decisions.eligibility import screen
from service.decisions.question import RUNGS
from service.decisions.scoring import features_of, open_customer, prior_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.bundle import Bundle
    from service.catalog.schema import Placement
    from service.decisions.question import Question, Rung
    from service.decisions.schema import AskedPlacement
    from service.decisions.scoring import Customer

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


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


def choose(question: Question) -> Chosen:
    """Fill every placement in the order asked, no candidate twice."""
    customer = open_customer(question)
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


def _fill(question: Question, customer: Customer, asked: AskedPlacement, shown: set[int]) -> Slate:
    compiled = question.frame.compiled
    placement = compiled.placements[asked.id]
    exploration, alias = _parameters(question, placement)
    pool, rejected = screen(question.frame, asked, shown)
    bundle = question.models.get(alias)
    rung: Rung = "static" if question.frame.head is None else question.rung
    if rung == "model" and bundle is None:
        rung = "prior"
    if rung != "model":
        bundle = None
    features: dict[str, Floats] = {}
    propensity: Floats | None = None
    if len(pool) and bundle is not None:
        features = features_of(question, customer, placement, pool)
        propensity = bundle.propensities(features)
    elif len(pool) and rung == "prior":
        propensity = prior_of(question, pool)
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
        bundle=bundle,
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
