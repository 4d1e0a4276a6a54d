"""The decision itself, as a pure function: states closed at `now`, variants, eligibility, scores, slates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.ids import digest
from models.policy import Exploration, Pick, order, pick
from service.catalog.experiments import INTERLEAVED
from service.decisions.attention import Claim, claim, spend
from service.decisions.eligibility import Page, screen
from service.decisions.interleaving import Match, draft, oppose, unite
from service.decisions.pools import Pool, build, reweigh
from service.decisions.question import RUNGS
from service.decisions.ranking import draw_priorities, priority_of, rung_of
from service.decisions.scoring import features_of, open_customer, prior_of
from service.decisions.valuing import revalue
from service.decisions.variants import assign_variants
from service.experiments.variation import Variation, vary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.bundle import Bundle
    from service.catalog.contents import Contents
    from service.catalog.schema import Placement
    from service.decisions.eligibility import Screened
    from service.decisions.frame import Frame
    from service.decisions.question import Question, Rung
    from service.decisions.schema import AskedPlacement
    from service.decisions.scoring import Customer

    Floats = NDArray[np.float64]
    Ranked = tuple[Floats | None, Floats]
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
    match: Match | None = None
    """The experiment whose variants picked in turn: no pick has a chance of its own then."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    rung: Rung
    slates: list[Slate]
    variants: dict[str, str]
    unassigned: bool
    """The customer could not be read, so that no experiment could be told."""
    chances: dict[str, float] = {}
    """Experiment -> the probability with which its variant was given, where weights move."""
    failures: dict[str, int] = {}
    """`rule` and `value` -> how many could not be evaluated."""

    @property
    def claims(self) -> list[Claim]:
        return [claim for slate in self.slates for claim in slate.claims]


def choose(question: Question) -> Chosen:
    """Fill every placement in the order asked, no candidate twice."""
    customer = open_customer(question) if question.foretold is None else None
    assigned = assign_variants(question, customer)
    is_interleaved = INTERLEAVED in assigned.variants.values()
    page = Page(question.attention)
    slates = []
    for asked in question.placements:
        match = oppose(question, asked, assigned.variants) if is_interleaved else None
        variation = vary(question.frame.compiled, asked.id, assigned.variants) if match is None else match.first
        slate = _fill(question, customer, asked, page, variation, match)
        show_on(page, slate, question)
        slates.append(slate)
    rung = max((slate.rung for slate in slates), key=RUNGS.index)
    return Chosen(
        rung=rung,
        slates=slates,
        variants=assigned.variants,
        unassigned=assigned.unassigned,
        chances=assigned.chances,
        failures=page.failures,
    )


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
    question: Question,
    customer: Customer | None,
    asked: AskedPlacement,
    page: Page,
    variation: Variation,
    match: Match | None,
) -> Slate:
    """Of a match, `variation` is that of its first side: of whom it ranks by, all but the ranking is both sides'."""
    compiled, placement = question.frame.compiled, variation.placement
    pool, rejected = compete(question.frame, variation, asked)
    pools = [pool] if match is None else [compete(question.frame, side.variation, asked)[0] for side in match.sides]
    pool = pool if match is None else unite(question, pools)
    size, limit = len(pool.places), asked.limit or placement.limit
    bundle = question.models.get(placement.model)
    rung = rung_of(question, asked, bundle)
    if rung != "model":
        bundle = None
    features: dict[str, Floats] = {}
    propensity: Floats | None = None
    if size and (bundle is not None or (pool.needs_features and question.is_readable)):
        features = _features(question, customer, pool)
    screened = screen(question, pool, features, page, rejected)
    if size and bundle is not None:
        propensity = bundle.propensities(features) if question.foretold is None else question.foretold.propensity
        screened = revalue(question, placement, bundle, features, screened)
    elif size and rung == "prior":
        propensity = prior_of(question, pool)
    if match is None:
        priority = priority_of(placement, pool, screened.value, propensity)
        picks = _pick(question, limit, placement, pool, screened, (propensity, priority))
    else:
        match, picks, propensity, priority = draft(question, limit, match, pools, pool, screened, features, propensity)
    served = [] if placement.apprentice else picks
    claims = [claim(pool, picked.at, compiled, question.now) for picked in served] if pool.is_bounded else []
    return Slate(
        placement=placement,
        asked=asked,
        rung=rung,
        exploration=placement.exploration if match is None else 0.0,
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
        match=match,
    )


def _pick(
    question: Question, limit: int, placement: Placement, pool: Pool, screened: Screened, by: Ranked
) -> list[Pick]:
    propensity, priority = by
    draws = draw_priorities(question, placement, pool, screened.value, propensity)
    exploration = Exploration(share=placement.exploration, floor=placement.floor, draws=draws)
    seed, at = question.decision_id, placement.id
    return pick(order(priority), screened.legal, limit, exploration, seed, at, pool.pinned, screened.constraints)


def _features(question: Question, customer: Customer | None, pool: Pool) -> dict[str, Floats]:
    if customer is None:
        return {} if question.foretold is None else question.foretold.features
    return features_of(question, customer, pool)


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
