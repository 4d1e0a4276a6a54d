"""The decision as a pure function: what it is of what it is given."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from features.aggregates.engine import TOTAL_ID, Candidates, advance_candidates, advance_customer
from features.aggregates.rows import LAYOUTS, blank, pack
from features.events.occurrences import Item, Occurrence
from features.ids import digest
from features.snapshots import Head
from features.store import Packed
from features.streaming import StoredRow
from models.bundle import Bundle, load, save
from service.catalog.compiled import Compiled, compile_catalog
from service.catalog.schema import Catalog
from service.decisions import frame
from service.decisions.choose import Chosen, choose
from service.decisions.question import Question
from service.decisions.record import answer
from service.decisions.schema import AskedPlacement
from tests.service import shop

if TYPE_CHECKING:
    from pathlib import Path

    from features.aggregates.rows import Row

NOW = 1_800_000_000_000_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("bundles") / "1"
    save(folder, shop.describe("1"), shop.grow(1))
    return load(folder)


def compiled(**changed: Any) -> Compiled:
    return compile_catalog(Catalog.model_validate(copy.deepcopy(shop.CATALOG) | changed), "v")


def viewed(number: int, name: str = "Product Viewed") -> Occurrence:
    category = digest(shop.CATEGORIES[number % 3])
    return Occurrence(name, NOW / 1e6 - 60.0, (Item(shop.OFFERS[number], digest(shop.OFFERS[number]), category),))


def store(row: Row) -> StoredRow:
    numbers, ids = pack(row)
    return StoredRow(row.text, row.applied, numbers, ids)


def framed(catalog: Compiled, *popular: int) -> frame.Frame:
    """A frame whose snapshot has seen these offers ordered, each as often as it is named."""
    candidates, customer = Candidates(), blank(LAYOUTS["customer"], "")
    for arrival, number in enumerate(popular, NOW - 1000):
        advance_candidates(candidates, customer, viewed(number, "Order Completed"), arrival)
    rows = {key: store(row) for key, row in candidates.candidate.items()}
    return frame.build(catalog, Head(1, NOW), rows, {})


def packed(*occurrences: Occurrence) -> Packed:
    row = blank(LAYOUTS["customer"], "c-1")
    for occurrence in occurrences:
        advance_customer(row, occurrence)
    numbers, ids = pack(row)
    return Packed(NOW, np.array(numbers), np.array(ids))


def question(frame_: frame.Frame, *placements: str | AskedPlacement, **changed: Any) -> Question:
    asked = [AskedPlacement(id=placed) if isinstance(placed, str) else placed for placed in placements]
    given: dict[str, Any] = {
        "decision_id": "d-1",
        "now": NOW,
        "placements": asked,
        "context": {},
        "flags": {},
        "state": None,
        "occurrences": [],
        "frame": frame_,
        "models": {},
        "rung": "model",
    }
    return Question(**given | changed)


def shown(chosen: Chosen, frame_: frame.Frame) -> list[list[str]]:
    return [
        [frame_.compiled.candidates[int(slate.pool.places[picked.at])].id for picked in slate.picks]
        for slate in chosen.slates
    ]


def test_without_a_snapshot_the_catalogs_order_is_served_on_rung_static(bundle: Bundle) -> None:
    unread = frame.build(compiled(), None, {}, {})
    asked = question(unread, AskedPlacement(id="grid", limit=3), models={"champion": bundle}, decision_id="d-3")
    for seed in range(100):
        chosen = choose(msgspec.structs.replace(asked, decision_id=f"d-{seed}"))
        probabilities = [picked.selection_probability for picked in chosen.slates[0].picks]
        if probabilities[0] > 0.5:  # not explored
            assert shown(chosen, unread)[0][0] == "o-0"
    told = answer(asked, chosen, 0.0)
    assert told.rung == "static"
    assert told.model is None
    assert all(item.propensity is None for item in told.placements[0].items)


def test_without_a_model_the_most_popular_are_served_on_rung_prior() -> None:
    held = framed(compiled(candidates=[each | {"value": 1.0} for each in shop.CANDIDATES]), 7, 7, 7, 4, 4, 9)
    chosen = choose(question(held, AskedPlacement(id="calm", limit=3)))
    assert chosen.rung == "prior"
    assert shown(chosen, held) == [["o-7", "o-4", "o-9"]]
    propensity = chosen.slates[0].propensity
    assert propensity is not None
    assert ((propensity > 0) & (propensity < 1)).all()


def test_a_prior_is_a_probability_also_when_one_candidate_has_everything() -> None:
    catalog = compiled()
    candidates, customer = Candidates(), blank(LAYOUTS["customer"], "")
    for arrival in range(300):
        for name in ("Promotion Viewed", "Promotion Clicked", "Order Completed", "Product Viewed"):
            advance_candidates(candidates, customer, viewed(2, name), NOW - 1000 + arrival)
    held = frame.build(catalog, Head(1, NOW), {key: store(row) for key, row in candidates.candidate.items()}, {})
    propensity = choose(question(held, "calm")).slates[0].propensity
    assert propensity is not None
    assert 0.9 < propensity.max() < 1.0


def test_with_a_model_priority_is_propensity_by_value_by_weight(bundle: Bundle) -> None:
    weighted = [each | {"weight": 1.0 + at} for at, each in enumerate(shop.CANDIDATES)]
    held = framed(compiled(candidates=weighted), 1, 2, 3)
    asked = question(held, AskedPlacement(id="calm", limit=12), models={"champion": bundle}, state=packed(viewed(3)))
    slate = choose(asked).slates[0]
    assert slate.rung == "model"
    assert slate.propensity is not None
    np.testing.assert_array_equal(slate.propensity, bundle.propensities(slate.features))
    by_hand = slate.propensity * held.compiled.value * held.compiled.weight
    np.testing.assert_array_equal(slate.priority, by_hand)
    assert [picked.at for picked in slate.picks] == np.argsort(-by_hand, kind="stable").tolist()


def test_an_unread_customer_is_decided_by_the_prior_even_with_a_model(bundle: Bundle) -> None:
    chosen = choose(question(framed(compiled(), 1), "calm", models={"champion": bundle}, rung="prior"))
    assert chosen.rung == "prior"
    assert chosen.slates[0].bundle is None


def test_no_candidate_stands_twice_on_a_page() -> None:
    held = framed(compiled(), 1)
    for seed in range(50):
        asked = question(held, AskedPlacement(id="grid", limit=5), "calm", "pair", decision_id=f"d-{seed}")
        slates = shown(choose(asked), held)
        flat = [text for slate in slates for text in slate]
        assert len(flat) == len(set(flat))
        assert [len(slate) for slate in slates[:2]] == [5, 1]


def test_a_default_stands_in_when_nothing_may_be_shown_but_never_twice() -> None:
    held = framed(compiled(), 1)
    first = AskedPlacement(id="pair", limit=2)
    again = AskedPlacement(id="grid", candidates=["o-1", "o-2"])
    unknown = AskedPlacement(id="calm", candidates=["o-0", "nothing", "nowhere"])
    asked = question(held, first, again, unknown)
    chosen = choose(asked)
    assert chosen.slates[1].rejected == {"shown_on_page": ["o-1", "o-2"]}
    assert chosen.slates[2].rejected == {"unknown_candidate": ["nothing", "nowhere"], "shown_on_page": ["o-0"]}
    told = answer(asked, chosen, 0.0).placements
    assert [item.id for item in told[1].items] == ["o-0"]
    assert told[1].items[0].selection_probability == 1.0
    assert told[1].items[0].propensity is None
    assert told[2].items == []


def test_a_shortlist_has_room_for_who_was_hardly_seen_where_those_are_sampled() -> None:
    calm = {"id": "calm", "default": "o-11", "pinned": ["o-9"], "shortlist": 8, "exploration": 0.0}
    often = [number for number in (0, 1, 2, 3, 4, 5, 6, 7) for _ in range(20)]
    for thompson, fresh in ((0, set()), (10, {8, 10})):
        candidates, customer = Candidates(), blank(LAYOUTS["customer"], "")
        for arrival, number in enumerate(often, NOW - 1000):
            for name in ("Order Completed", "Promotion Viewed"):
                advance_candidates(candidates, customer, viewed(number, name), arrival)
        rows = {key: store(row) for key, row in candidates.candidate.items()}
        catalog = compiled(placements=[{**calm, "thompson": thompson}], experiments=[])
        competing = {int(place) for place in frame.build(catalog, Head(1, NOW), rows, {}).pools["calm"].places}
        assert len(competing) == 8
        assert {9, 11} <= competing
        assert (fresh | {9, 11}) == competing - set(range(8))


def test_a_shortlist_keeps_the_most_popular_and_the_default() -> None:
    placements = [{"id": "calm", "limit": 1, "default": "o-11", "shortlist": 3, "exploration": 0.0}]
    held = framed(compiled(placements=placements, experiments=[]), 5, 5, 2, 8)
    assert [held.compiled.candidates[at].id for at in held.pools["calm"].places] == ["o-2", "o-5", "o-11"]


def test_an_inline_event_counts_as_if_it_had_been_in_the_row(bundle: Bundle) -> None:
    held = framed(compiled(), 1, 2)
    models = {"champion": bundle}
    inline = choose(question(held, "calm", models=models, state=packed(viewed(3)), occurrences=[viewed(5)]))
    stored = choose(question(held, "calm", models=models, state=packed(viewed(3), viewed(5))))
    without = choose(question(held, "calm", models=models, state=packed(viewed(3))))
    first = choose(question(held, "calm", models=models, occurrences=[viewed(3), viewed(5)]))
    assert inline.slates[0].priority.tolist() == stored.slates[0].priority.tolist() == first.slates[0].priority.tolist()
    assert inline.slates[0].priority.tolist() != without.slates[0].priority.tolist()


def test_flags_change_model_and_exploration_where_their_experiment_applies(bundle: Bundle) -> None:
    held = framed(compiled(), 1)
    models = {"champion": bundle}
    flags = {"grid-only": "uniform"}
    chosen = choose(question(held, "grid", "calm", flags=flags, models=models))
    assert [slate.exploration for slate in chosen.slates] == [1.0, 0.0]
    chosen = choose(question(held, "grid", "calm", flags={"look": "unmodelled"}, models=models))
    assert [slate.rung for slate in chosen.slates] == ["prior", "prior"]
    assert chosen.variants == {"look": "unmodelled"}


def test_the_lowest_rung_of_the_page_is_told(bundle: Bundle) -> None:
    experiments = [{"id": "half", "placements": ["grid"], "variants": [{"id": "none", "model": "absent"}]}]
    held = framed(compiled(experiments=experiments), 1)
    chosen = choose(question(held, "calm", "grid", flags={"half": "none"}, models={"champion": bundle}))
    assert [slate.rung for slate in chosen.slates] == ["model", "prior"]
    assert chosen.rung == "prior"


def test_the_same_question_has_the_same_answer(bundle: Bundle) -> None:
    held = framed(compiled(), 1, 4, 4)
    asked = question(held, "grid", "calm", models={"champion": bundle}, state=packed(viewed(3)))
    once, twice = choose(asked), choose(asked)
    assert msgspec.json.encode(answer(asked, once, 0.0)) == msgspec.json.encode(answer(asked, twice, 0.0))


def test_the_total_of_all_candidates_is_no_candidate_of_the_catalog() -> None:
    assert TOTAL_ID not in compiled().ids
