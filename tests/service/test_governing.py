"""What the catalog demands of a decision: who may be shown, in which order, how many, at what value, in what words."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY

from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, blank, pack
from features.events.occurrences import Item, Occurrence
from features.events.schema import Attention
from features.ids import digest
from features.store import Packed
from models.bundle import Bundle, load, save
from service import metrics
from service.catalog.expressions import compile_formula
from service.decisions.attention import FIELDS
from service.decisions.choose import choose
from service.decisions.explain import explain
from service.decisions.record import answer, record
from service.decisions.schema import AskedPlacement, DecisionRequest
from tests.service import shop
from tests.service.test_choose import NOW, compiled, framed, question

if TYPE_CHECKING:
    from pathlib import Path

    from service.decisions.choose import Chosen
    from service.decisions.question import Question

HOUR = 3_600_000_000
DAY = 24 * HOUR


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("bundles") / "1"
    save(folder, shop.describe("1"), shop.grow(1))
    return load(folder)


def governed(candidates: dict[int, dict[str, Any]] | None = None, **changed: Any) -> Any:
    """The shop's catalog with fields of some candidates (by number), and of the placement `calm`, changed."""
    document = copy.deepcopy(shop.CATALOG)
    for number, fields in (candidates or {}).items():
        document["candidates"][number] |= fields
    document["placements"][0] |= changed.pop("calm", {})
    return compiled(**{**document, **changed})


def decide(
    catalog: Any, bundle: Bundle | None = None, *placements: str | AskedPlacement, **changed: Any
) -> tuple[Question, Chosen]:
    models = {} if bundle is None else {"champion": bundle}
    asked = question(framed(catalog), *(placements or ("calm",)), models=models, **changed)
    return asked, choose(asked)


def ids(asked: Question, chosen: Chosen, slate: int = 0) -> list[str]:
    return [item.id for item in answer(asked, chosen, 0.0).placements[slate].items]


def after(*events: tuple[str, int, int]) -> Packed:
    """The row of a customer with (event, number of the offer, microseconds ago)."""
    row = blank(LAYOUTS["customer"], "c-1")
    for name, number, ago in sorted(events, key=lambda event: -event[2]):
        item = Item(shop.OFFERS[number], digest(shop.OFFERS[number]), digest(shop.CATEGORIES[number % 3]))
        advance_customer(row, Occurrence(name, (NOW - ago) / 1e6, (item,)))
    numbers, keys = pack(row)
    return Packed(NOW, np.array(numbers), np.array(keys))


ALL = {"limit": 12, "exploration": 0.0}


def test_a_candidate_is_shown_in_its_windows_only() -> None:
    from datetime import UTC, datetime

    day = datetime.fromtimestamp(NOW / 1e6, UTC).date().isoformat()
    early, late = {"until": "2020-01-01"}, {"from": "2190-01-01"}
    catalog = governed(
        {1: {"windows": [early]}, 2: {"windows": [late]}, 3: {"windows": [early, {"from": day, "until": day}]}},
        calm=ALL,
    )
    asked, chosen = decide(catalog)
    assert chosen.slates[0].rejected == {"outside_window": ["o-1", "o-2"]}
    assert len(ids(asked, chosen)) == 10


def test_where_a_candidate_may_be_shown_holds_for_supplied_ones_too() -> None:
    catalog = governed({1: {"placements": ["grid"]}}, calm={**ALL, "excluded": ["o-2"]})
    asked, chosen = decide(catalog, None, AskedPlacement(id="calm", candidates=["o-1", "o-2", "o-4", "none"]))
    assert ids(asked, chosen) == ["o-4"]
    assert chosen.slates[0].rejected == {"unknown_candidate": ["none"], "not_permitted_here": ["o-1", "o-2"]}
    asked, chosen = decide(catalog)
    assert not {"o-1", "o-2"} & set(ids(asked, chosen))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("features.customer__product_viewed__count_1d >= 2.0", None),
        ("features.customer__product_viewed__count_1d > 2.0", "rule"),
        ("traits.plan == 'gold'", None),
        ("traits.age > 30", "rule_error"),
        ("has(traits.age) && traits.age > 30", "rule"),
        ("context.page.path == '/'", None),
        ("'vip' in segments", None),
        ("placement == 'grid'", "rule"),
        ("now > timestamp('2020-01-01T00:00:00Z')", None),
        ("features.customer__order_completed__recency > 1.0", "rule_error"),
    ],
)
def test_a_rule_over_features_traits_and_context_decides(bundle: Bundle, rule: str, reason: str | None) -> None:
    catalog = governed({5: {"rule": rule}}, calm=ALL)
    context = {"traits": {"plan": "gold"}, "segments": ["vip"], "page": {"path": "/"}}
    state = after(("Product Viewed", 1, HOUR), ("Product Viewed", 2, 2 * HOUR))
    for model in (bundle, None):  # with a model or on rung `prior`
        asked, chosen = decide(catalog, model, context=context, state=state)
        assert chosen.slates[0].rejected == ({} if reason is None else {reason: ["o-5"]})
        assert ("o-5" in ids(asked, chosen)) == (reason is None)


def test_a_rule_is_evaluated_once_a_page_unless_it_asks_for_the_placement(bundle: Bundle) -> None:
    wrong, worth = {"rule": "traits.age > 30"}, {"value": "double(traits.x)"}
    catalog = governed({1: wrong, 2: wrong, 4: {"rule": "placement == 'grid'"}, 5: worth}, calm=ALL)
    _, chosen = decide(catalog, bundle, "calm", AskedPlacement(id="grid", candidates=["o-1", "o-4"]), "pair")
    assert [slate.rejected for slate in chosen.slates] == [
        {"rule_error": ["o-1", "o-2"], "rule": ["o-4"], "value_error": ["o-5"]},
        {"rule_error": ["o-1"]},
        {"rule_error": ["o-1", "o-2"]},
    ]
    assert chosen.failures == {"rule": 1, "value": 1}
    _, chosen = decide(governed({4: {"rule": "traits.plan == placement"}}, calm=ALL), bundle, "calm", "grid")
    assert chosen.failures == {"rule": 2}


def test_what_rules_and_values_read_is_told_to_them_once_however_many_they_are(bundle: Bundle) -> None:
    told = 0

    class Traits(dict[str, Any]):
        def __or__(self, other: Any) -> Any:
            nonlocal told
            told += 1
            return dict(self) | other

    asks = {at: {"rule": f"traits.plan != 'p-{at}'", "value": f"double(traits.age) + {at}.0"} for at in range(1, 12)}
    _, chosen = decide(
        governed(asks, calm=ALL | {"limit": 3}),
        bundle,
        "calm",
        "grid",
        traits=Traits(plan="p-3", age=30),
        context={"traits": {"x": 1}},
    )
    assert [slate.rejected["rule"] for slate in chosen.slates] == [["o-3"], ["o-3"]]
    assert told == 2  # to the rules, and to the values
    calm = chosen.slates[0]
    assert calm.value[calm.legal].tolist() == [1.0, *(30.0 + at for at in range(1, 12) if at != 3)]


def test_what_cel_cannot_take_fails_those_who_read_it_and_nobody_else(bundle: Bundle) -> None:
    rules = ("traits.plan == 'gold'", "context.device == 'mobile'", "traits.half == 'x'")
    for many, failing in ((3, ["o-1", "o-3"]), (2, [])):  # what no rule names is not told
        catalog = governed({at: {"rule": rule} for at, rule in enumerate(rules[:many], 1)}, calm=ALL)
        _, chosen = decide(catalog, bundle, traits={"plan": "gold", "half": "\ud800"}, context={"device": "mobile"})
        assert chosen.slates[0].rejected == ({"rule_error": failing} if failing else {})
        assert chosen.failures == ({"rule": len(failing)} if failing else {})


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("traits.plan == 'gold' && has(traits.age)", {"age", "plan"}),
        ("traits['a b'] == 1", {"a b"}),
        ("traits.plan.startsWith('g')", {"plan"}),
        ("['gold'].exists(one, one == traits.plan)", {"plan"}),
        ("context.traits.plan == 'gold' || traits . age == 30 // traits", {"age"}),
        ("traits['a\\'b'] == 2", None),
        ("size(traits) == 5", None),
        ("traits.size() == 5", None),
        ("'plan' in traits", None),
        ("traits[context.device] == 3", None),
    ],
)
def test_only_the_fields_that_rules_name_are_told_and_all_where_that_is_not_known(
    bundle: Bundle, rule: str, named: set[str] | None
) -> None:
    assert compile_formula(rule, "rule").parts["traits"] == named
    traits = {"plan": "gold", "age": 30, "a b": 1, "a'b": 2, "mobile": 3}
    _, chosen = decide(
        governed({1: {"rule": rule}}, calm=ALL), bundle, traits=traits, context={"device": "mobile", "traits": {}}
    )
    assert chosen.slates[0].rejected == {}


def test_only_answered_decisions_count_what_could_not_be_evaluated(bundle: Bundle) -> None:
    asked, chosen = decide(governed({1: {"rule": "traits.age > 30"}}, calm=ALL), bundle)
    reply = answer(asked, chosen, 0.0)

    def counted() -> float:
        return REGISTRY.get_sample_value("kairos_expression_errors_total", {"use": "rule"}) or 0.0

    before = counted()
    asyncio.run(explain(asked, chosen, reply, 60.0))
    assert counted() == before
    metrics.count_decision(chosen, 0.001)
    assert counted() == before + 1


def test_what_needs_the_customer_is_out_when_the_row_cannot_be_read(bundle: Bundle) -> None:
    catalog = governed({1: {"rule": "true"}, 2: {"not_if_bought_within": "1d"}, 4: {"value": "1.0 + 0.0"}}, calm=ALL)
    _, chosen = decide(catalog, bundle, rung="prior", is_readable=False)
    assert chosen.slates[0].rejected == {"customer_unknown": ["o-1", "o-2", "o-4"]}


def test_what_was_bought_or_declined_lately_is_out(bundle: Bundle) -> None:
    lately: dict[str, Any] = {"not_if_bought_within": "30d", "not_if_declined_within": "1d"}
    catalog = governed(dict.fromkeys(range(1, 7), lately), calm=ALL)
    state = after(
        ("Order Completed", 1, 29 * DAY),
        ("Order Completed", 2, 31 * DAY),
        ("Promotion Declined", 3, DAY // 2),
        ("Promotion Declined", 4, 2 * DAY),
        ("Promotion Viewed", 5, HOUR),
    )
    _, chosen = decide(catalog, bundle, state=state)
    assert chosen.slates[0].rejected == {"bought": ["o-1"], "declined": ["o-3"]}


def test_a_value_may_be_computed_for_each_customer_and_candidate(bundle: Bundle) -> None:
    text = "candidate.price * (1.0 + features.customer__product_viewed__count_1d)"
    catalog = governed({1: {"value": text}, 2: {"value": "1.0 / traits.none"}}, calm=ALL)
    asked, chosen = decide(catalog, bundle, state=after(("Product Viewed", 3, HOUR)))
    items = {item.id: item for item in answer(asked, chosen, 0.0).placements[0].items}
    assert items["o-1"].value == 22.0
    assert items["o-1"].priority == pytest.approx((items["o-1"].propensity or 0.0) * 22.0)
    assert chosen.slates[0].rejected == {"value_error": ["o-2"]}


@pytest.mark.parametrize("strategy", ["value", "propensity", "fixed"])
def test_each_strategy_has_its_order(bundle: Bundle, strategy: str) -> None:
    asked, chosen = decide(governed(calm={**ALL, "strategy": strategy}), bundle)
    items = answer(asked, chosen, 0.0).placements[0].items
    keys = {
        "value": [(item.propensity or 0.0) * item.value for item in items],
        "propensity": [item.propensity or 0.0 for item in items],
        "fixed": [-float(shop.OFFERS.index(item.id)) for item in items],
    }[strategy]
    assert keys == sorted(keys, reverse=True)


def test_pinned_candidates_come_first_in_their_order_if_they_may_be_shown(bundle: Bundle) -> None:
    catalog = governed(
        {7: {"rule": "false"}}, calm={**ALL, "limit": 4, "pinned": ["o-9", "o-7", "o-3"], "exploration": 1.0}
    )
    asked, chosen = decide(catalog, bundle)
    items = answer(asked, chosen, 0.0).placements[0].items
    assert [item.id for item in items[:2]] == ["o-9", "o-3"]
    assert [item.selection_probability for item in items] == [1.0, 1.0, 1 / 9, 1 / 8]


def test_diversity_bounds_what_stands_in_a_placement(bundle: Bundle) -> None:
    for most in (1, 2, 4):
        catalog = governed(calm={**ALL, "at_most": {"category": most}, "exploration": 0.5})
        for seed in range(20):
            asked, chosen = decide(catalog, bundle, decision_id=f"d-{seed}")
            counted = [shop.OFFERS.index(text) % 3 for text in ids(asked, chosen)]
            assert sorted(counted.count(one) for one in range(3)) == [most] * 3


def test_groups_bound_a_page_over_all_its_placements(bundle: Bundle) -> None:
    loans = {number: {"group": "loans"} for number in (1, 2, 4, 5)}
    catalog = governed(loans, groups=[{"id": "loans", "at_most": 2}], calm=ALL)
    asked, chosen = decide(catalog, bundle, "grid", "calm")
    on_page = [*ids(asked, chosen, 0), *ids(asked, chosen, 1)]
    assert len({"o-1", "o-2", "o-4", "o-5"} & set(on_page)) == 2
    assert len(on_page) == len(set(on_page)) == 10


@pytest.mark.parametrize("first", ["grid", "calm"])
def test_conflicting_groups_do_not_meet_on_a_page(bundle: Bundle, first: str) -> None:
    rivals: dict[int, dict[str, Any]] = {
        1: {"group": "red", "conflicts": ["blue"]},
        2: {"group": "blue"},
        4: {"group": "blue"},
    }
    catalog = governed(rivals, groups=[{"id": "red"}, {"id": "blue"}], calm={**ALL, "exploration": 0.5})
    for seed in range(40):
        second = "calm" if first == "grid" else "grid"
        asked, chosen = decide(catalog, bundle, first, second, decision_id=f"d-{seed}")
        on_page = {*ids(asked, chosen, 0), *ids(asked, chosen, 1)}
        assert not ("o-1" in on_page and on_page & {"o-2", "o-4"})


def contact(number: int, ago: int, seen: bool, placement: str = "calm") -> list[int]:
    at = NOW - ago
    category = digest(shop.CATEGORIES[number % 3])
    whole = [at, at if seen else 0, digest(shop.OFFERS[number]), category, 0, digest(placement), digest("web")]
    assert len(whole) == len(FIELDS)
    return whole


CAPS = [
    {"id": "each", "per": ["customer", "candidate"], "limit": 2, "period": "1d", "scope": {"categories": ["hats"]}},
    {"id": "coats", "per": ["customer", "category"], "limit": 3, "period": "7d", "scope": {"categories": ["coats"]}},
]


def test_caps_count_what_the_customer_saw_or_may_see_yet(bundle: Bundle) -> None:
    catalog = governed(caps=CAPS, calm=ALL)
    contacts = [
        contact(1, HOUR, seen=True),
        contact(1, HOUR // 10, seen=False),  # may still be seen
        contact(4, HOUR, seen=True),
        contact(4, HOUR, seen=False),  # was never seen
        contact(7, 25 * HOUR, seen=True),
        contact(7, HOUR, seen=True, placement="grid"),
        contact(0, HOUR, seen=True),  # counted by no cap
    ]
    asked, chosen = decide(catalog, bundle, attention=Attention(contacts=contacts))
    assert chosen.slates[0].rejected == {"cap:each": ["o-1"]}
    coats = [text for text in ids(asked, chosen) if shop.OFFERS.index(text) % 3 == 2]
    assert len(coats) == 3
    assert len(chosen.claims) == 3 + 3  # the hats that are left, and as many coats as may be


def test_what_is_bounded_stays_out_when_the_ledger_is_not_known(bundle: Bundle) -> None:
    catalog = governed({3: {"stock": 5}, 6: {"personal_window": "1d"}}, caps=CAPS, calm=ALL)
    for unsure, reason in ((Attention(is_known=False), "cap_unknown"), (Attention(contended=True), "contended")):
        asked, chosen = decide(catalog, bundle, attention=unsure)
        assert set(ids(asked, chosen)) == {"o-0", "o-9"}
        assert set(chosen.slates[0].rejected) == {reason}
        assert chosen.claims == []


def test_a_personal_window_begins_when_the_candidate_is_first_seen(bundle: Bundle) -> None:
    catalog = governed({number: {"personal_window": "24h"} for number in (1, 2, 4)}, calm=ALL)
    first = {digest("o-1"): NOW - 23 * HOUR, digest("o-2"): NOW - 24 * HOUR}
    asked, chosen = decide(catalog, bundle, attention=Attention(first=first))
    assert chosen.slates[0].rejected == {"personal_window_over": ["o-2"]}
    ends = {item.id: item.expires_at for item in answer(asked, chosen, 0.0).placements[0].items if item.expires_at}
    assert ends == {"o-1": "2027-01-15T09:00:00.000000Z", "o-4": "2027-01-16T08:00:00.000000Z"}


def test_content_follows_the_placement_the_locale_and_the_visitor(bundle: Bundle) -> None:
    fields = {
        "content": {"hello": "Hello {{ traits.first_name }}", "cta": "Go"},
        "fallback": {"hello": "Welcome"},
        "content_for": [{"locale": "de", "content": {"cta": "Los"}}, {"placement": "grid", "content": {"cta": "More"}}],
    }
    catalog = governed({1: fields}, calm={**ALL, "pinned": ["o-1"]})
    told = {}
    for name, context in (("ada", {"traits": {"first_name": "Ada"}}), ("nobody", {"locale": "de-AT"})):
        asked, chosen = decide(catalog, bundle, context=context)
        told[name] = answer(asked, chosen, 0.0).placements[0].items[0].content
    assert told == {"ada": {"hello": "Hello Ada", "cta": "Go"}, "nobody": {"hello": "Welcome", "cta": "Los"}}


def test_the_same_question_is_answered_the_same_whatever_was_asked_between(bundle: Bundle) -> None:
    catalog = governed(caps=CAPS, calm={**ALL, "exploration": 0.4, "at_most": {"category": 2}})
    asked, chosen = decide(catalog, bundle)
    first = msgspec.json.encode(answer(asked, chosen, 0.0))
    decide(catalog, bundle, decision_id="another")
    assert msgspec.json.encode(answer(asked, choose(asked), 0.0)) == first


def test_an_apprentice_serves_the_default_and_logs_what_it_would_have_shown(bundle: Bundle) -> None:
    catalog = governed(caps=CAPS, calm={**ALL, "limit": 3, "apprentice": True})
    asked, chosen = decide(catalog, bundle)
    assert ids(asked, chosen) == ["o-0"]
    assert chosen.claims == []
    request = DecisionRequest(customer_id="c-1", placements=asked.placements)
    [slot] = record(asked, chosen, answer(asked, chosen, 0.0), request, "c-1", []).placements
    assert [served.id for served in slot.items] == ["o-0"]
    usual = decide(governed(caps=CAPS, calm={**ALL, "limit": 3}), bundle)
    assert [served.id for served in slot.would] == ids(*usual)
    assert [served.rank for served in slot.would] == [1, 2, 3]


def test_new_candidates_get_their_chance_where_the_placement_samples(bundle: Bundle) -> None:
    greedy, sampling = (governed(calm={**ALL, "limit": 1, "thompson": most}) for most in (0, 50))
    alone = {tuple(ids(*decide(greedy, bundle, decision_id=f"d-{seed}"))) for seed in range(60)}
    found = {tuple(ids(*decide(sampling, bundle, decision_id=f"d-{seed}"))) for seed in range(60)}
    assert len(alone) == 1
    assert len(found) > 3
    _, chosen = decide(sampling, bundle)
    assert chosen.slates[0].picks[0].selection_probability < 1.0


def test_a_placement_that_cannot_wait_is_filled_without_the_model(bundle: Bundle) -> None:
    asked, chosen = decide(governed(), bundle, "calm", "grid", late=frozenset(["grid"]))
    assert [placement.rung for placement in answer(asked, chosen, 0.0).placements] == ["model", "prior"]
    assert chosen.rung == "prior"
