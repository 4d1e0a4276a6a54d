"""Why not: each reason in words with what it was decided by, and what would have made the runner-up win."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.schema import Attention
from models.bundle import Appraisal, load, save
from service.decisions.attention import period
from service.decisions.choose import choose
from service.decisions.explain import explain
from service.decisions.record import answer
from service.decisions.schema import AskedPlacement
from tests.service import shop
from tests.service.test_choose import NOW, framed, question
from tests.service.test_governing import ALL, HOUR, after, bundle, contact, governed

if TYPE_CHECKING:
    from models.bundle import Bundle
    from service.decisions.question import Question
    from service.decisions.schema import Explanation

__all__ = ["bundle"]


def told(asked: Question, slate: int = 0) -> Explanation:
    chosen = choose(asked)
    reply = asyncio.run(explain(asked, chosen, answer(asked, chosen, 0.0), 60.0))
    msgspec.json.encode(reply)
    found = reply.placements[slate].explanation
    assert found is not None
    return found


def of(asked: Question, candidate: str, slate: int = 0) -> tuple[str, str, dict[str, Any]]:
    """(reason, words, inputs) of a candidate that is not shown."""
    [one] = [one for one in told(asked, slate).not_shown if one.id == candidate]
    return one.reason, one.words, json.loads(json.dumps(one.inputs))


def over(catalog: Any, *placements: str | AskedPlacement, bundle: Bundle | None = None, **changed: Any) -> Question:
    models = {} if bundle is None else {"champion": bundle}
    return question(framed(catalog), *(placements or ("calm",)), models=models, **changed)


def test_a_rule_is_told_with_what_it_read() -> None:
    rule = (
        "features.customer__product_viewed__count_1d > 3.0 && traits.plan == 'traits.gold' && context.page.path == '/'"
    )
    asked = over(
        governed({1: {"rule": rule}, 2: {"rule": "traits.age > 30"}}, calm=ALL),
        state=after(("Product Viewed", 4, HOUR)),
        context={"traits": {"plan": "silver"}, "page": {"path": "/x"}},
    )
    reason, words, inputs = of(asked, "o-1")
    assert reason == "rule"
    assert words == f"its rule does not hold: {rule}"
    assert inputs == {
        "rule": rule,
        "features.customer__product_viewed__count_1d": 1.0,
        "traits.plan": "silver",
        "context.page.path": "/x",
    }
    reason, words, inputs = of(asked, "o-2")
    assert reason == "rule_error"
    assert inputs["traits.age"] is None
    assert "age" in inputs["error"]
    assert inputs["error"] in words


def test_a_value_that_cannot_be_computed_is_told_with_what_it_read() -> None:
    asked = over(governed({1: {"value": "1.0 / (traits.zero * 1.0)"}}, calm=ALL), context={"traits": {"zero": 0.0}})
    reason, words, inputs = of(asked, "o-1")
    assert (reason, inputs["traits.zero"]) == ("value_error", 0.0)
    assert "inf" in words


def test_what_was_bought_is_told_with_when_and_how_long() -> None:
    asked = over(
        governed({1: {"not_if_bought_within": "30d"}}, calm=ALL), state=after(("Order Completed", 1, 5 * HOUR))
    )
    assert of(asked, "o-1") == (
        "bought",
        "the customer bought it 5h ago, and not if within 30d",
        {"ago": "5h", "within": "30d"},
    )


def test_who_did_not_compete_is_told_as_well(bundle: Bundle) -> None:
    calm = {"excluded": ["o-1"], "shortlist": 8, "default": "o-3"}
    asked = over(governed({2: {"placements": ["grid", "pair"]}}, calm=calm), "calm", "pair", bundle=bundle)
    assert of(asked, "o-1") == ("not_permitted_here", "the placement excludes it", {"excluded": True})
    told_of = {"placements": ["grid", "pair"]}
    assert of(asked, "o-2") == ("not_permitted_here", "it is for other placements: grid, pair", told_of)
    left_out = [one for one in told(asked).not_shown if one.reason == "shortlist"]
    assert len(left_out) == 2
    assert left_out[0].words == "the 8 most popular compete here, and it is none of them"
    assert left_out[0].inputs == {"shortlist": 8}
    for slate, placement in enumerate(answer(asked, choose(asked), 0.0).placements):
        named = [one.id for one in told(asked, slate).not_shown]
        assert sorted([*named, *(item.id for item in placement.items)]) == sorted(shop.OFFERS)
    assert of(asked, "o-7", slate=1)[:2] == ("not_named_here", "who competes here is named, and it is not")
    [one] = told(over(governed(), AskedPlacement(id="grid", candidates=["o-1", "o-2"], limit=1))).not_shown
    assert one.id in {"o-1", "o-2"}


def test_windows_are_told_with_their_times() -> None:
    catalog = governed({1: {"windows": [{"until": "2020-01-01"}]}, 2: {"windows": [{"from": "2190-01-01"}]}}, calm=ALL)
    assert of(over(catalog), "o-1")[1] == "its last window closed at 2020-01-01T23:00:00Z"
    _, words, inputs = of(over(catalog), "o-2")
    assert words == "its window opens at 2189-12-31T23:00:00Z"
    assert inputs["windows"] == [{"from": "2189-12-31T23:00:00Z", "until": None}]
    personal = over(
        governed({1: {"personal_window": "1d"}}, calm=ALL),
        attention=Attention(first={int(framed(governed()).compiled.ids[1]): NOW - 30 * HOUR}),
    )
    reason, words, inputs = of(personal, "o-1")
    assert reason == "personal_window_over"
    assert "it may be shown for 1d" in words
    assert set(inputs) == {"first_seen", "lasts", "ended"}


def test_a_cap_a_budget_and_the_stock_are_told_with_limit_and_count() -> None:
    catalog = governed(
        {1: {"stock": 3}},
        calm=ALL,
        caps=[{"id": "often", "per": ["customer", "candidate"], "limit": 2, "period": "1d"}],
        budgets=[{"id": "coats", "limit": 7, "period": "7d", "scope": {"categories": ["coats"]}}],
    )
    asked = over(catalog)
    shared = {bound.name: bound for bound in asked.frame.pools["calm"].bounds if bound.scope}
    used = {
        period(shared["stock"], NOW): {int(shared["stock"].labels[1]): 3},
        period(shared["budget:coats"], NOW): {int(shared["budget:coats"].labels[2]): 8},
    }
    contacts = [contact(4, HOUR, seen=True), contact(4, 2 * HOUR, seen=True)]
    asked = msgspec.structs.replace(asked, attention=Attention(contacts=contacts, used=used))
    assert of(asked, "o-1") == ("stock", "its stock is used up: 3 of 3", {"limit": 3, "used": 3})
    reason, words, inputs = of(asked, "o-2")
    assert (reason, words) == ("budget:coats", "the budget coats is reached: 8 of at most 7 in 7d")
    assert inputs == {"limit": 7, "used": 8, "per": [], "period": "7d"}
    reason, words, inputs = of(asked, "o-4")
    assert reason == "cap:often"
    assert words == "the cap often is reached: 2 of at most 2 in 1d for each candidate, customer"
    for unknown, reason in ((Attention(is_known=False), "cap_unknown"), (Attention(contended=True), "contended")):
        assert of(msgspec.structs.replace(asked, attention=unknown), "o-5")[0] == reason


def test_what_stands_above_takes_up_diversity_groups_and_caps(bundle: Bundle) -> None:
    catalog = governed(calm={**ALL, "at_most": {"category": 1}})
    reason, words, inputs = of(over(catalog, bundle=bundle), told(over(catalog, bundle=bundle)).not_shown[0].id)
    assert (reason, inputs) == ("at_most:category", {"limit": 1, "per": "category"})
    assert words == "of one category at most 1 may stand in this placement"
    catalog = governed({n: {"group": "g"} for n in range(1, 12)}, calm=ALL, groups=[{"id": "g", "at_most": 2}])
    assert {(one.reason, one.inputs["used"]) for one in told(over(catalog, bundle=bundle)).not_shown} == {
        ("group_full", 2)
    }
    one_a_day = {"id": "one", "per": ["customer"], "limit": 1, "period": "1d"}
    catalog = governed(calm=ALL, caps=[one_a_day])
    first = told(over(catalog, bundle=bundle)).not_shown[0]
    assert first.reason == "cap:one"
    assert first.words == "what stands above it takes up the cap one: at most 1 in 1d for each customer"


def test_conflicts_name_what_stands_on_the_page(bundle: Bundle) -> None:
    catalog = governed({1: {"group": "a"}, 2: {"conflicts": ["a"]}}, groups=[{"id": "a"}])
    page = AskedPlacement(id="calm", candidates=["o-1"]), AskedPlacement(id="grid", candidates=["o-2", "o-3"])
    assert of(over(catalog, *page, bundle=bundle), "o-2", slate=1) == (
        "conflict",
        "it does not stand beside o-1",
        {"beside": ["o-1"]},
    )


def test_an_apprentices_placement_says_so(bundle: Bundle) -> None:
    explanation = told(over(governed(calm={"apprentice": True, "exploration": 0.0}), bundle=bundle))
    assert {one.reason for one in explanation.not_shown} == {
        "the placement serves its default while its policy is tried"
    }
    assert explanation.runner_up is None
    assert "o-0" not in {one.id for one in explanation.not_shown}


VALUES = st.lists(st.floats(0.01, 100.0), min_size=12, max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    values=VALUES,
    limit=st.integers(1, 6),
    most=st.none() | st.integers(1, 2),
    pinned=st.sets(st.sampled_from(shop.OFFERS[:4]), max_size=2),
    popular=st.lists(st.integers(0, 11), max_size=20),
)
def test_the_smallest_change_makes_the_runner_up_win_and_a_smaller_one_does_not(
    values: list[float], limit: int, most: int | None, pinned: set[str], popular: list[int]
) -> None:
    """On rung `prior`, where a candidate's value does not move its propensity."""
    calm = {"limit": limit, "exploration": 0.0, "at_most": {"category": most} if most else {}, "pinned": sorted(pinned)}

    def asked(**changed: float) -> Question:
        worth = {at: {"value": changed.get(shop.OFFERS[at], value)} for at, value in enumerate(values)}
        return question(framed(governed(worth, calm=calm), *popular), "calm")

    def shown(of: Question) -> list[str]:
        return [item.id for item in answer(of, choose(of), 0.0).placements[0].items]

    runner = told(asked()).runner_up
    assert runner is not None
    assert runner.id not in shown(asked())
    for change in runner.changes:
        if change.what == "value":
            assert runner.id in shown(asked(**{runner.id: change.needed * (1 + 1e-9)}))
            assert runner.id not in shown(asked(**{runner.id: change.needed * (1 - 1e-9)}))
    if not most and len(pinned) < limit:
        assert {"value", "weight"} <= {change.what for change in runner.changes}
        written = float(runner.words.partition("a value above ")[2].split()[0])
        assert runner.changes[0].needed <= written <= runner.changes[0].needed * 1.001
        assert runner.id in shown(asked(**{runner.id: written * (1 + 1e-9)}))


@pytest.fixture(scope="module")
def wary(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model by which what is worth more is wanted less, here and there in steps."""
    chance = np.random.default_rng(7)
    matrix = chance.exponential(2.0, (3000, len(shop.signature().names)))
    matrix[:, shop.signature().names.index("candidate__value")] = value = chance.uniform(0.0, 100.0, 3000)
    clicked = (chance.random(3000) < 0.6 - 0.3 * (value > 20) - 0.2 * (value > 60) + 0.2 * (value > 80)).astype(float)
    parameters = {"objective": "binary", "num_leaves": 15, "verbose": -1, "num_threads": 1, "deterministic": True}
    data = lightgbm.Dataset(matrix, clicked, feature_name=shop.signature().names)
    folder = tmp_path_factory.mktemp("bundles") / "1"
    save(folder, shop.describe("1"), lightgbm.train(parameters, data, 20).model_to_string())
    return load(folder)


@settings(max_examples=40, deadline=None)
@given(values=VALUES, limit=st.integers(1, 3), shares=st.lists(st.floats(0.0, 0.999), min_size=3, max_size=3))
def test_the_smallest_change_holds_where_the_model_sees_the_value(
    wary: Bundle, values: list[float], limit: int, shares: list[float]
) -> None:
    def asked(**changed: float) -> Question:
        worth = {at: {"value": changed.get(shop.OFFERS[at], value)} for at, value in enumerate(values)}
        return over(governed(worth, calm={"limit": limit, "exploration": 0.0}), bundle=wary)

    def shown(of: Question) -> list[str]:
        return [item.id for item in answer(of, choose(of), 0.0).placements[0].items]

    runner = told(asked()).runner_up
    assert runner is not None
    for change in (one for one in runner.changes if one.what == "value"):
        assert runner.id in shown(asked(**{runner.id: change.needed * (1 + 1e-9)}))
        for share in shares:
            less = change.now + share * (change.needed - change.now)
            if less < change.needed * (1 - 1e-9):  # nearer than that, products round to the same
                assert runner.id not in shown(asked(**{runner.id: less}))


@pytest.fixture(scope="module")
def valuing(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shop's model with trees for what a reward brings."""
    folder = tmp_path_factory.mktemp("bundles") / "1"
    described = msgspec.structs.replace(shop.describe("1"), value=Appraisal(of="revenue"))
    save(folder, described, shop.grow(1), shop.grow(2))
    return load(folder)


def test_a_value_that_the_model_tells_is_not_to_be_changed_in_the_catalog(valuing: Bundle) -> None:
    for source, changes in (("model", {"weight", "propensity"}), ("catalog", {"value", "weight", "propensity"})):
        calm = {"value_from": source, "exploration": 0.0}
        runner = told(over(governed(calm=calm), bundle=valuing)).runner_up
        assert runner is not None
        assert {change.what for change in runner.changes} <= changes
        assert ("value" in {change.what for change in runner.changes}) == (source == "catalog")


@pytest.mark.parametrize(("strategy", "changes"), [("propensity", {"propensity"}), ("fixed", set())])
def test_only_what_the_strategy_goes_by_can_change(strategy: str, changes: set[str], bundle: Bundle) -> None:
    explanation = told(over(governed(calm={"strategy": strategy, "exploration": 0.0}), bundle=bundle))
    assert explanation.runner_up is not None
    assert {change.what for change in explanation.runner_up.changes} == changes
