"""Two variants' rankings in one slate: a team draft, of which each item belongs to a variant. Pure.

Who may be shown, caps and diversity are judged once for both. Interleaved slates do not explore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.policy import Pick, draw, order
from service.catalog.experiments import INTERLEAVED
from service.decisions.pools import build
from service.decisions.ranking import priority_of, rung_of
from service.experiments.variation import vary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.bundle import Bundle
    from models.policy import Constraint
    from service.decisions.eligibility import Screened
    from service.decisions.pools import Pool
    from service.decisions.question import Question, Rung
    from service.decisions.schema import AskedPlacement
    from service.experiments.variation import Variation

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


class Side(msgspec.Struct, frozen=True):
    """A variant that ranks."""

    variant: str
    variation: Variation
    bundle: Bundle | None
    """None on lower rungs."""


class Match(msgspec.Struct, frozen=True):
    """An experiment whose two variants fill a slate together."""

    experiment: str
    sides: tuple[Side, ...]
    teams: list[str | None] = []
    """Of each pick, the variant that brought it in; None for what is pinned."""

    @property
    def first(self) -> Variation:
        return self.sides[0].variation

    @property
    def bundles(self) -> list[Bundle | None]:
        """Of each pick, the model of its team; of what is pinned, the first's."""
        own = {side.variant: side.bundle for side in self.sides}
        return [own.get(team or "", self.sides[0].bundle) for team in self.teams]

    @property
    def models(self) -> dict[str, str]:
        """Variant -> the model that scored for it."""
        return {side.variant: side.bundle.label for side in self.sides if side.bundle is not None}


def oppose(question: Question, asked: AskedPlacement, variants: Mapping[str, str]) -> Match | None:
    """The experiment that interleaves a placement, if there is one and both variants rank on the same rung."""
    compiled = question.frame.compiled
    if compiled.placements[asked.id].apprentice:
        return None
    for entry in compiled.experiments.entries:
        if variants.get(entry.id) != INTERLEAVED or not (entry.placements is None or asked.id in entry.placements):
            continue
        varied = [(name, vary(compiled, asked.id, {**variants, entry.id: name})) for name in entry.names]
        bundles = [question.models.get(variation.placement.model) for _, variation in varied]
        rungs: list[Rung] = [rung_of(question, asked, bundle) for bundle in bundles]
        if len(set(rungs)) != 1:
            return None
        sides = (
            Side(name, variation, bundle if rungs[0] == "model" else None)
            for (name, variation), bundle in zip(varied, bundles, strict=True)
        )
        return Match(entry.id, tuple(sides))
    return None


def unite(question: Question, pools: Sequence[Pool]) -> Pool:
    """Everybody who competes for any of the sides, in the catalog's order if they are not the same."""
    first, *others = pools
    if all(other.places is first.places or np.array_equal(other.places, first.places) for other in others):
        return first
    places = np.unique(np.concatenate([pool.places for pool in pools]))
    return build(question.frame.compiled, first.placement, places)


def draft(
    question: Question,
    limit: int,
    match: Match,
    pools: Sequence[Pool],
    pool: Pool,
    screened: Screened,
    features: dict[str, Floats],
    known: Floats | None,
) -> tuple[Match, list[Pick], Floats | None, Floats]:
    """The slate that both sides fill, and what each item was ranked by in the ranking of its team: propensity and
    priority. `pools` are the sides' own, `pool` the united one, of which `known` is the first side's propensity.
    """
    placement, seed = match.first.placement, question.decision_id
    propensities, priorities, rankings = [], [], []
    for side, own in zip(match.sides, pools, strict=True):
        propensity = known if side.bundle is match.sides[0].bundle else _propensity(side, features)
        is_whole = np.array_equal(own.places, pool.places)  # else the pool is in the catalog's order
        mine = np.arange(len(own.places)) if is_whole else np.searchsorted(pool.places, own.places)
        theirs = None if propensity is None else propensity[mine]
        ranked = priority_of(side.variation.placement, own, screened.value[mine], theirs)
        rankings.append(mine[order(ranked)])
        priorities.append(np.zeros(len(pool.places)))
        priorities[-1][mine] = ranked
        propensities.append(propensity)
    picked = take_turns(rankings, screened.legal, limit, seed, placement.id, pool.pinned, screened.constraints)
    teams = [None if team is None else match.sides[team].variant for _, team in picked]
    second = [at for at, team in picked if team == 1]
    priority, chosen = priorities[0], propensities[0]
    priority[second] = priorities[1][second]
    if chosen is not None and propensities[1] is not None:
        chosen = chosen.copy()
        chosen[second] = propensities[1][second]
    return msgspec.structs.replace(match, teams=teams), [Pick(at, 1.0) for at, _ in picked], chosen, priority


def _propensity(side: Side, features: dict[str, Floats]) -> Floats | None:
    return None if side.bundle is None or not features else side.bundle.propensities(features)


def take_turns(
    rankings: Sequence[Ints],
    legal: Bools,
    limit: int,
    seed: str,
    at: str,
    pinned: Sequence[int] = (),
    constraints: Sequence[Constraint] = (),
) -> list[tuple[int, int | None]]:
    """(candidate, which ranking it comes from) by team draft (Radlinski, Kurup and Joachims 2008, algorithm 2).

    In each round a draw says who picks first, and each picks their best candidate that may still be shown.
    """
    allowed, picks, rounds = legal.copy(), list[tuple[int, int | None]](), 0

    def take(candidate: int, team: int | None) -> None:
        picks.append((candidate, team))
        allowed[candidate] = False
        for constraint in constraints:
            constraint.take(candidate, allowed)

    for candidate in pinned:
        if len(picks) < limit and allowed[candidate]:
            take(candidate, None)
    while len(picks) < limit:
        before = len(picks)
        first = 0 if draw(seed, at, rounds, "team") < 0.5 else 1
        for team in (first, 1 - first):
            left = rankings[team][allowed[rankings[team]]]
            if len(picks) < limit and len(left):
                take(int(left[0]), team)
        if len(picks) == before:
            break
        rounds += 1
    return picks
