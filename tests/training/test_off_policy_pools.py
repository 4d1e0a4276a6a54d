"""Pools as the service chose from them: told again from the decision's record and the published catalog alone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from features import archive
from features.events.schema import decode, encode
from models.bundle import Bundle, load, save
from service.catalog.versions import Publication
from service.decisions.choose import choose
from service.decisions.record import answer, record
from service.decisions.schema import AskedPlacement, DecisionRequest
from service.publisher import publication
from tests.service import shop
from tests.service.test_choose import NOW, compiled, framed, question
from training.off_policy.pools import Pool, read_catalogs, reconstruct

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from features.events.schema import Decision
    from features.home import Home
    from service.decisions.choose import Slate

SEEDS = 25


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("bundles") / "1"
    save(folder, shop.describe("1"), shop.grow(1))
    return load(folder)


def serve(
    home: Home,
    bundle: Bundle,
    *placements: str | AskedPlacement,
    changed: tuple[dict[int, dict[str, Any]], dict[str, Any]],
) -> Iterator[tuple[Decision, list[Slate], list[str]]]:
    """Decisions of many seeds with what they were chosen from; their catalog goes to the archive."""
    document, (candidates, calm) = copy.deepcopy(shop.CATALOG), changed
    document["placements"][0] |= {"exploration": 0.4} | calm
    for number, fields in candidates.items():
        document["candidates"][number] |= fields
    catalog = compiled(**document)
    published = publication(catalog.document, Publication(version="v", time=NOW - 1), NOW - 1)
    archive.write(home.events, "0", archive.tabulate(0, [archive.entry(NOW - 1, published)]))
    for seed in range(SEEDS):
        asked = question(framed(catalog), *placements, models={"champion": bundle}, decision_id=f"d-{seed}")
        chosen = choose(asked)
        reply = answer(asked, chosen, 0.0)
        event = decode(encode(record(asked, chosen, reply, DecisionRequest(placements=[]), "c-1", [])))
        yield event, chosen.slates, [candidate.id for candidate in catalog.candidates]  # type: ignore[misc]  # a decision


def tell(home: Home, decision: Decision, slot: int = 0) -> Pool | str:
    earlier = {item.id for before in decision.placements[:slot] for item in before.items}
    return reconstruct(read_catalogs(home), decision, decision.placements[slot], earlier)


CASES: dict[str, tuple[dict[int, dict[str, Any]], dict[str, Any]]] = {
    "everybody": ({}, {}),
    "excluded": ({}, {"excluded": ["o-4", "o-7"]}),
    "named by the placement, in its order": ({}, {"candidates": ["o-5", "o-2", "o-9", "o-1"]}),
    "elsewhere only": ({2: {"placements": ["grid"]}, 3: {"placements": ["calm", "grid"]}}, {}),
    "rejected by a rule": ({1: {"rule": "context.device == 'fax'"}}, {}),
    "outside their windows": ({1: {"windows": [{"until": "2001-01-01"}]}}, {}),
    "with weights": ({1: {"weight": 3.0}, 2: {"value": 0.0}}, {}),
    "ranked by propensity": ({1: {"weight": 3.0}}, {"strategy": "propensity"}),
    "with a floor": ({}, {"exploration": 0.05, "floor": 0.02}),
    "one of a category": ({}, {"limit": 4, "at_most": {"category": 1}}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_pool_is_what_the_service_chose_from(home: Home, bundle: Bundle, case: str) -> None:
    for decision, slates, texts in serve(home, bundle, "calm", changed=CASES[case]):
        pool = tell(home, decision)
        assert isinstance(pool, Pool), pool
        slate = slates[0]
        legal = slate.pool.places[slate.legal].tolist()
        assert pool.candidates == [texts[place] for place in legal]
        assert slate.propensity is not None
        priority = slate.propensity[slate.legal] * np.array(pool.worth)
        assert priority == pytest.approx(slate.priority[slate.legal])


def test_a_second_placement_has_what_the_first_left(home: Home, bundle: Bundle) -> None:
    asked = [AskedPlacement(id="grid"), AskedPlacement(id="calm")]
    for decision, slates, texts in serve(home, bundle, *asked, changed=({}, {})):
        pool = tell(home, decision, 1)
        assert isinstance(pool, Pool), pool
        assert pool.candidates == [texts[place] for place in slates[1].pool.places[slates[1].legal].tolist()]
        assert len(pool.candidates) == 8


def test_a_request_that_names_candidates_has_those(home: Home, bundle: Bundle) -> None:
    asked = AskedPlacement(id="calm", candidates=["o-8", "o-3", "nobody", "o-5"])
    for decision, _, _ in serve(home, bundle, asked, changed=({}, {})):
        pool = tell(home, decision)
        assert isinstance(pool, Pool), pool
        assert pool.candidates == ["o-8", "o-3", "o-5"]


@pytest.mark.parametrize(
    ("candidates", "calm", "reason"),
    [
        ({1: {"value": "candidate.price * 0.1"}}, {}, "values of candidates are rules"),
        ({}, {"shortlist": 4}, "shortlisted"),
        ({}, {"pinned": ["o-3"]}, "no model chooses there"),
        ({}, {"apprentice": True}, "no model chooses there"),
    ],
)
def test_what_the_record_does_not_tell_is_not_guessed(
    home: Home, bundle: Bundle, candidates: dict[int, dict[str, Any]], calm: dict[str, Any], reason: str
) -> None:
    for decision, _, _ in serve(home, bundle, "calm", changed=(candidates, calm)):
        told = tell(home, decision)
        assert isinstance(told, str)
        assert reason in told
