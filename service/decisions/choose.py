"""The decision itself, as a pure function: states closed at `now`, variants, eligibility, scores, slates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.ids import digest
from models.policy import Exploration, Pick, order, pick, prioritise
from models.thompson import sample
from service.decisions.attention import Claim, claim, spend
from service.decisions.eligibility import Page, screen
from service.decisions.pools import Pool, build, reweigh
from service.decisions.question import RUNGS
from service.decisions.scoring import features_of, open_customer, prior_of
from service.decisions.variants import assign_variants
from service.experiments.variation import Variation, vary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.bundle import Bundle
    from service.catalog.contents import Contents
    from service.catalog.schema import Placement
    from service.decisions.frame import Frame
    from service.decisions.question import Question, Rung
    from service.decisions.schema import AskedPlacement
    from service.decisions.scoring import Customer

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


class Slate(msgspec.Struct, frozen=True, kw_only=True):
    """What one placement shows, and all that led to it. Arrays are over the pool."""

    placement: Placement
    asked: AskedPlacement
    rung: Rung
    exploration: float
    bundle: Bundle | None
    pool: Pool
    picks: list[Pick]
    """`at` is a position in the pool."""
    would: list[Pick]
    """What an apprentice would have picked; it serves the default."""
    fell_back: bool
    """Nothing might be shown, so the default is (not in `picks`)."""
    propensity: Floats | None
    value: Floats
    priority: Floats
    features: dict[str, Floats]
    """Empty where nothing asked for them."""
    legal: Bools
    """Who might be shown before anything was picked."""
    rejected: dict[str, list[str]]
    claims: list[Claim]
    """What the picks take up of caps, budgets and stock."""
    contents: dict[int, Contents]
    """Position in the catalog -> content, where a variant changes it."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    rung: Rung
    slates: list[Slate]
    variants: dict[str, str]
    unassigned: bool
    """The customer could not be read, so that no experiment could be told."""

    @property
    def claims(self) -> list[Claim]:
        return [claim for slate in self.slates for claim in slate.claims]


def choose(question: Question) -> Chosen:
    """Fill every placement in the order asked, no candidate twice."""
    customer = open_customer(question) if question.foretold is None else None
    assigned = assign_variants(question, customer)
    page = Page(question.attention)
    slates = []
    for asked in question.placements:
        slate = _fill(question, customer, asked, page, vary(question.frame.compiled, asked.id, assigned.variants))
        show_on(page, slate, question)
        slates.append(slate)
    rung = max((slate.rung for slate in slates), key=RUNGS.index)
    return Chosen(rung=rung, slates=slates, variants=assigned.variants, unassigned=assigned.unassigned)


def show_on(page: Page, slate: Slate, question: Question) -> None:
    """What the next placement must know."""
    compiled = question.frame.compiled
    shown = [int(slate.pool.places[picked.at]) for picked in slate.picks]
    if slate.fell_back:
        shown.append(compiled.place[slate.placement.default])
    for place in shown:
        page.shown.add(place)
        if group := int(compiled.group[place]):
            page.groups[group] = page.groups.get(group, 0) + 1
        page.avoided.update(digest(group) for group in compiled.candidates[place].conflicts)
    page.attention = spend(page.attention, slate.claims)


def _fill(
    question: Question, customer: Customer | None, asked: AskedPlacement, page: Page, variation: Variation
) -> Slate:
    frame, compiled, placement = question.frame, question.frame.compiled, variation.placement
    pool, rejected = compete(frame, variation, asked)
    size = len(pool.places)
    bundle = question.models.get(placement.model)
    rung = _rung(question, asked, bundle)
    if rung != "model":
        bundle = None
    features: dict[str, Floats] = {}
    propensity: Floats | None = None
    if size and (bundle is not None or (pool.needs_features and question.is_readable)):
        features = _features(question, customer, pool)
    screened = screen(question, pool, features, page, rejected)
    if size and bundle is not None:
        propensity = bundle.propensities(features) if question.foretold is None else question.foretold.propensity
    elif size and rung == "prior":
        propensity = prior_of(question, pool)
    priority = _prioritise(placement, pool, screened.value, propensity)
    picks = pick(
        order(priority),
        screened.legal,
        asked.limit or placement.limit,
        Exploration(
            share=placement.exploration,
            floor=placement.floor,
            draws=_draws(question, placement, pool, screened.value, propensity),
        ),
        question.decision_id,
        placement.id,
        pool.pinned,
        screened.constraints,
    )
    served = [] if placement.apprentice else picks
    claims = [claim(pool, picked.at, compiled, question.now) for picked in served] if pool.is_bounded else []
    return Slate(
        placement=placement,
        asked=asked,
        rung=rung,
        exploration=placement.exploration,
        bundle=bundle,
        pool=pool,
        picks=served,
        would=picks if placement.apprentice else [],
        fell_back=not served and compiled.place[placement.default] not in page.shown,
        propensity=propensity,
        value=screened.value,
        priority=priority,
        features=features,
        legal=screened.legal,
        rejected=rejected,
        claims=[one for one in claims if one is not None],
        contents=variation.contents,
    )


def _features(question: Question, customer: Customer | None, pool: Pool) -> dict[str, Floats]:
    if customer is None:
        return {} if question.foretold is None else question.foretold.features
    return features_of(question, customer, pool)


def _rung(question: Question, asked: AskedPlacement, bundle: Bundle | None) -> Rung:
    """The best rung that is left for a placement."""
    if question.frame.head is None:
        return "static"
    if question.rung == "model" and (bundle is None or asked.id in question.late):
        return "prior"
    return question.rung


def _prioritise(placement: Placement, pool: Pool, value: Floats, propensity: Floats | None) -> Floats:
    """(m,) what the placement's strategy ranks by."""
    if propensity is None or placement.strategy == "fixed":
        # The catalog's order: its first candidate has the highest priority.
        size = len(pool.places)
        return np.arange(size, 0, -1) / (size + 1.0)
    if placement.strategy == "propensity":
        return propensity
    return prioritise(propensity, value, pool.weight)


def _draws(
    question: Question, placement: Placement, pool: Pool, value: Floats, propensity: Floats | None
) -> Floats | None:
    """(k, m) priorities by what the propensities of hardly seen candidates may be."""
    if not placement.thompson or propensity is None or placement.strategy == "fixed":
        return None
    exposures = question.frame.exposures_at(question.now / 1e6)[pool.places]
    drawn = sample(question.decision_id, placement.id, propensity, exposures, placement.thompson)
    return None if drawn is None else _prioritise(placement, pool, value, drawn)


def compete(frame: Frame, variation: Variation, asked: AskedPlacement) -> tuple[Pool, dict[str, list[str]]]:
    """The pool, and which of the candidates that the request supplied are not in it: its list comes before others."""
    placement = variation.placement
    if asked.candidates is None:
        pool = frame.pools[asked.id] if variation.competing is None else frame.varied[*variation.competing, asked.id]
        return reweigh(pool, variation.weights), {}
    rejected: dict[str, list[str]] = {}
    compiled = frame.compiled
    wanted = list(dict.fromkeys(asked.candidates))
    if unknown := [text for text in wanted if text not in compiled.place]:
        rejected["unknown_candidate"] = unknown
    known = np.array([compiled.place[text] for text in wanted if text in compiled.place], np.int64)
    permitted = compiled.permitted[placement.id][known]
    if not permitted.all():
        rejected["not_permitted_here"] = [compiled.candidates[at].id for at in known[~permitted].tolist()]
    return reweigh(build(compiled, placement, known[permitted]), variation.weights), rejected
