"""Candidates that only a request knows, beside those of the catalog, in the decision as a pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from features.aggregates.engine import Candidates, advance_candidates
from features.aggregates.rows import LAYOUTS, blank
from features.events.occurrences import Item, Occurrence
from features.events.schema import Attention
from features.ids import digest
from models.bundle import Bundle, load, save
from service.catalog.schema import Candidate
from service.decisions.attention import FIELDS
from service.decisions.choose import choose
from service.decisions.schema import AskedPlacement
from service.dialects.personalizer import chances
from service.dialects.supplied import describe, lay_over
from tests.service import shop
from tests.service.test_choose import NOW, compiled, framed, question, store

if TYPE_CHECKING:
    from pathlib import Path

    from service.decisions import frame as frames

NEW = [Candidate(id=f"new-{number}", category="hats", price=10.0 + number) for number in range(3)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("bundles") / "1"
    save(folder, shop.describe("1"), shop.grow(1))
    return load(folder)


def decided(frame: frames.Frame, *candidates: str, **changed: Any) -> Any:
    asked = AskedPlacement(id=changed.pop("placement", "calm"), limit=12, candidates=list(candidates))
    return choose(question(frame, asked, **changed)).slates[0]


def test_features_that_are_attributes_of_a_catalog_count_and_others_do_not() -> None:
    said = {
        "category": "hats",
        "price": 3,
        "value": -2.5,
        "kind": "action",
        "tags": ["a", 1, ""],
        "weight": 9,
        "rule": "1",
    }
    assert describe(said) == {"category": "hats", "price": 3.0, "value": -2.5, "kind": "action", "tags": ["a"]}
    wrong = {"category": 7, "price": -1.0, "value": 1e300, "kind": "weapon", "title": None, "tags": "a"}
    assert describe(wrong) == {}
    assert describe({"price": True, "value": float("nan")}) == {}


def test_one_that_the_catalog_knows_is_scored_as_one_that_the_request_describes_the_same(bundle: Bundle) -> None:
    """Under another id: all but what goes by the id is the same."""
    models = {"champion": bundle}
    known = Candidate.model_validate(shop.CANDIDATES[2] | {"id": "o-2-too", "content": {}})
    held = framed(compiled())
    extended = lay_over(held, [known], {})
    slate = decided(extended, "o-2", "o-2-too", models=models)
    assert {
        name for name, values in slate.features.items() if len(set(values[~np.isnan(values)].tolist())) > 1
    } == set()
    assert slate.propensity.tolist()[0] == slate.propensity.tolist()[1]
    alone = decided(held, *shop.OFFERS, models=models)
    beside = decided(extended, *shop.OFFERS, models=models)
    assert alone.propensity.tolist() == beside.propensity.tolist()  # who was there before is as before


def test_what_events_told_of_it_is_in_its_features() -> None:
    seen, customer = Candidates(), blank(LAYOUTS["customer"], "")
    item = Item("new-1", digest("new-1"), digest("hats"))
    for arrival in range(5):
        advance_candidates(
            seen, customer, Occurrence("Order Completed", NOW / 1e6 - 60.0, (item,)), NOW - 100 + arrival
        )
    rows = {"new-1": store(seen.candidate[digest("new-1")])}
    slate = decided(lay_over(framed(compiled(), 7, 7), NEW, rows), "new-0", "new-1", "new-2")
    assert slate.rung == "prior"
    assert slate.picks[0].at == 1


def test_hardly_seen_ones_are_explored_by_thompson_sampling_too() -> None:
    calm = {"id": "calm", "limit": 1, "default": "o-0", "thompson": 32, "exploration": 0.0}
    extended = lay_over(framed(compiled(placements=[calm, *shop.CATALOG["placements"][1:]]), 7), NEW, {})
    chosen = [decided(extended, "o-7", "new-0", "new-1", decision_id=f"d-{seed}").picks for seed in range(50)]
    assert len({picks[0].at for picks in chosen}) > 1


def test_caps_and_windows_of_the_catalog_hold_beside_it() -> None:
    caps = [
        {"id": "hats", "per": ["customer", "category"], "limit": 1, "period": "1d", "scope": {"categories": ["hats"]}}
    ]
    window = {"windows": [{"from": "2020-01-01", "until": "2020-01-02"}, {"from": "2021-01-01", "until": "2021-01-02"}]}
    candidates = [one | window if at == 5 else one for at, one in enumerate(shop.CANDIDATES)]
    extended = lay_over(framed(compiled(caps=caps, candidates=candidates)), NEW, {})
    fresh = decided(extended, "o-5", "o-1", "new-0", "new-1", "o-2")
    ids = [extended.compiled.candidates[int(fresh.pool.places[picked.at])].id for picked in fresh.picks]
    assert fresh.rejected == {"outside_window": ["o-5"]}
    assert len(set(ids) & {"o-1", "new-0", "new-1"}) == 1  # one hat
    contact = dict.fromkeys(FIELDS, 0) | {
        "at": NOW - 1,
        "seen": NOW - 1,
        "candidate": digest("o-4"),
        "category": digest("hats"),
        "placement": digest("calm"),
    }
    capped = decided(extended, "o-1", "new-0", "o-2", attention=Attention(contacts=[list(contact.values())]))
    assert capped.rejected == {"cap:hats": ["o-1", "new-0"]}


def test_chances_of_a_rank_add_up_and_are_those_that_are_logged() -> None:
    held = lay_over(framed(compiled()), NEW, {})
    for seed in range(60):
        slate = decided(held, *shop.OFFERS[:4], "new-0", placement="grid", decision_id=f"d-{seed}")
        chance = chances(slate)
        assert chance.sum() == pytest.approx(1.0)
        assert (chance > 0).all()
        assert chance[slate.picks[0].at] == slate.picks[0].selection_probability
        assert sorted(chance.tolist()) == pytest.approx([0.06] * 4 + [0.76])
