"""Experiments in decisions: variants change what they say, where they say it, and the log tells who had which."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from features.events.schema import Decision, decode, encode
from models.bundle import Bundle, load, save
from service.catalog.compiled import compile_catalog
from service.catalog.schema import Catalog
from service.decisions.choose import Chosen, choose
from service.decisions.deviations import compare
from service.decisions.question import Question
from service.decisions.record import answer, record
from service.decisions.replaying import models_of, record_again
from service.decisions.schema import AskedPlacement, DecisionRequest
from tests.service import shop
from tests.service.flagging import put_back
from tests.service.test_choose import NOW, framed, packed, viewed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.decisions import frame
    from tests.service.running import Service

BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("bundles") / "1"
    save(folder, shop.describe("1"), shop.grow(1))
    return load(folder)


def running(bold: dict[str, Any], **changed: Any) -> frame.Frame:
    """A frame in which everybody is in one of two arms, of which `bold` is what the second one changes."""
    experiment = {"id": "hero", "status": "running", "variants": [{"id": "usual"}, {"id": "bold", **bold}]}
    document = copy.deepcopy(shop.CATALOG) | {"experiments": [experiment | changed.pop("experiment", {})]} | changed
    return framed(compile_catalog(Catalog.model_validate(document), "v"), 1, 2)


def asked(of: frame.Frame, unit: str = "c-1", *placements: str, **changed: Any) -> Question:
    given: dict[str, Any] = {
        "decision_id": "d-1",
        "now": NOW,
        "placements": [AskedPlacement(id=name) for name in placements or ("calm",)],
        "context": {},
        "flags": {},
        "unit": unit,
        "state": packed(viewed(3)),
        "occurrences": [],
        "frame": of,
        "models": {},
        "rung": "model",
    }
    return Question(**given | changed)


def arm(of: frame.Frame, variant: str, **changed: Any) -> Question:
    """The question of the first unit that is in a variant."""
    units = (f"c-{number}" for number in range(200))
    return next(one for unit in units if choose(one := asked(of, unit, **changed)).variants.get("hero") == variant)


def test_a_variant_sets_model_strategy_and_exploration(bundle: Bundle) -> None:
    of = running({"model": "challenger", "strategy": "propensity", "exploration": 0.5})
    models = {"challenger": bundle}
    usual, bold = (choose(arm(of, name, models=models)).slates[0] for name in ("usual", "bold"))
    assert (usual.bundle, usual.exploration, usual.rung) == (None, 0.0, "prior")
    assert (bold.bundle, bold.exploration, bold.rung) == (bundle, 0.5, "model")
    assert bold.propensity is not None
    assert bold.priority.tolist() == bold.propensity.tolist()


def test_a_variant_says_who_competes_and_with_what_weight() -> None:
    of = running({"candidates": ["o-7", "o-5", "o-9"], "weights": {"o-9": 1000.0}})
    slate = choose(arm(of, "bold")).slates[0]
    assert [of.compiled.candidates[at].id for at in slate.pool.places] == ["o-7", "o-5", "o-9"]
    assert of.compiled.candidates[int(slate.pool.places[slate.picks[0].at])].id == "o-9"
    assert len(choose(arm(of, "usual")).slates[0].pool.places) == 12


def test_what_a_request_supplies_comes_before_a_variants_candidates() -> None:
    of = running({"candidates": ["o-7"], "weights": {"o-2": 1000.0}})
    question = arm(of, "bold")
    supplied = msgspec.structs.replace(question, placements=[AskedPlacement(id="calm", candidates=["o-1", "o-2"])])
    slate = choose(supplied).slates[0]
    assert [of.compiled.candidates[at].id for at in slate.pool.places] == ["o-1", "o-2"]
    assert slate.picks[0].at == 1


def test_a_variant_lays_content_over_that_of_a_candidate() -> None:
    of = running({"candidates": ["o-7"], "content": {"o-7": {"cta": "Now or never"}}})
    bold = arm(of, "bold")
    assert answer(bold, choose(bold), 0.0).placements[0].items[0].content == {"cta": "Now or never"}
    forced = asked(of, "", flags={"hero": "usual"}, placements=[AskedPlacement(id="calm", candidates=["o-7"])])
    assert answer(forced, choose(forced), 0.0).placements[0].items[0].content == {"cta": "Take o-7"}


def test_an_experiment_concerns_pages_with_its_placements_only() -> None:
    of = running({"exploration": 1.0}, experiment={"placements": ["grid"]})
    assert choose(asked(of, "c-1", "calm")).variants == {}
    both = next(
        chosen
        for number in range(99)
        if (chosen := choose(asked(of, f"c-{number}", "calm", "grid"))).variants == {"hero": "bold"}
    )
    assert [slate.exploration for slate in both.slates] == [0.0, 1.0]


def test_experiments_of_flags_are_none_of_decisions() -> None:
    of = running(
        {"value": True}, experiment={"variants": [{"id": "usual", "value": False}, {"id": "bold", "value": True}]}
    )
    assert choose(asked(of)).variants == {}


def test_eligibility_reads_features_traits_and_the_context() -> None:
    rule = "features.customer__product_viewed__count_1d >= 1.0 && traits.age > 30 && context.device == 'mobile'"
    of = running({}, experiment={"eligibility": rule})
    context = {"device": "mobile", "traits": {"age": 40}}
    assert "hero" in choose(asked(of, context=context)).variants
    assert choose(asked(of, context=context | {"device": "desktop"})).variants == {}
    assert choose(asked(of, context=context, state=None)).variants == {}
    assert choose(asked(of)).variants == {}  # no traits: the rule fails, and the decision does not


def test_what_is_rolled_out_is_for_all_but_the_holdout() -> None:
    rolled = {"status": "rolled_out", "rolled_out": "bold"}
    everybody = running({"exploration": 0.5}, experiment=rolled)
    assert choose(asked(everybody, flags={"hero": "usual"})).slates[0].exploration == 0.0
    assert choose(asked(everybody, "")).slates[0].exploration == 0.5
    assert choose(asked(everybody)).variants == {}
    of = running({"exploration": 0.5}, experiment=rolled, holdout={"share": 0.5})
    chosen = [choose(asked(of, f"c-{number}")) for number in range(50)]
    assert {(one.variants["holdout"], one.slates[0].exploration) for one in chosen} == {("held", 0.0), ("open", 0.5)}


def test_who_cannot_be_read_gets_the_default_and_is_flagged() -> None:
    of = running({"exploration": 1.0}, holdout={"share": 0.5})
    unread = choose(asked(of, "", is_readable=False, state=None, rung="prior"))
    assert (unread.variants, unread.unassigned) == ({}, True)
    forced = choose(asked(of, "", is_readable=False, state=None, rung="prior", flags={"hero": "bold"}))
    assert (forced.variants, forced.slates[0].exploration) == ({"hero": "bold"}, 1.0)
    none = framed(compile_catalog(Catalog.model_validate(shop.CATALOG), "v"), 1)
    assert not choose(asked(none, "", is_readable=False, state=None, rung="prior")).unassigned


def test_bots_are_answered_flagged_and_in_nothing() -> None:
    of = running({"exploration": 1.0})
    question = asked(of, bot=True)
    chosen = choose(question)
    assert (chosen.variants, chosen.unassigned) == ({}, False)
    assert chosen.slates[0].picks
    assert logged(question, chosen).bot


def logged(question: Question, chosen: Chosen) -> Decision:
    request = DecisionRequest(
        placements=question.placements, customer_id="c-1", anonymous_id=question.anonymous or None
    )
    return record(question, chosen, answer(question, chosen, 0.0), request, "c-1", [])


def test_a_decision_with_variants_is_made_again_to_the_bit(bundle: Bundle) -> None:
    of = running({"model": "challenger", "candidates": ["o-7", "o-5"], "weights": {"o-5": 3.0}}, holdout={"share": 0.1})
    models = {"challenger": bundle}
    for number in range(40):
        flags = {"hero": "bold"} if number % 5 == 0 else {}
        question = asked(of, f"c-{number}", "calm", "grid", models=models, flags=flags, decision_id=f"d-{number}")
        event = decode(encode(logged(question, choose(question))))
        assert isinstance(event, Decision)
        assert event.unit == f"c-{number}"
        assert event.forced == list(flags)
        again = record_again(event, of, models_of(event, of, {bundle.label: bundle}.__getitem__))
        assert compare(event, again) == []


def catalog() -> dict[str, Any]:
    document = copy.deepcopy(shop.CATALOG)
    hero = {"id": "hero", "status": "running", "placements": ["calm"]}
    document["experiments"].append(hero | {"variants": [{"id": "usual"}, {"id": "bold", "candidates": ["o-5"]}]})
    document["holdout"] = {"share": 0.01}
    return document


@pytest.fixture(scope="module")
def tested(service: Service) -> Iterator[Service]:
    """The service with an experiment on it; put back afterwards."""
    before = service.get("/ready").json()["catalog_version"]
    with put_back(service):
        shop.write_catalog(service.home, catalog())
        service.everywhere(lambda ready: bool(ready["catalog_version"] != before))
        yield service


def test_an_answer_and_the_log_tell_the_variants(tested: Service) -> None:
    seen = set()
    for number in range(12):
        told = tested.decide(f"tested-{number}")
        variants = {one["id"]: one["variant"] for one in told["experiments"]}
        assert not any(one["forced"] for one in told["experiments"])
        (event,) = tested.logged(f"tested-{number}")
        assert event.variants == variants
        assert (event.unit, event.forced, event.bot, event.unassigned) == (f"tested-{number}", [], False, False)
        if variants.get("hero") == "bold":
            assert told["placements"][0]["items"][0]["id"] == "o-5"
        seen.add(variants.get("hero"))
    assert {"usual", "bold"} <= seen


def test_a_forced_variant_is_marked_and_an_unknown_one_is_refused(tested: Service) -> None:
    told = tested.decide("forced-1", flags={"hero": "bold", "holdout": "open"})
    assert {"id": "hero", "variant": "bold", "forced": True} in told["experiments"]
    assert tested.logged("forced-1")[0].forced == ["hero", "holdout"]
    for flags, field in (
        ({"hero": "x"}, "flags.hero"),
        ({"nothing": "x"}, "flags.nothing"),
        ({"holdout": "x"}, "flags.holdout"),
    ):
        body = {"customer_id": "c-1", "placements": [{"id": "calm"}], "flags": flags}
        reply = tested.post("/v1/decisions", body)
        assert (reply.status_code, reply.json()["field"]) == (400, field)


def test_a_bots_decision_is_flagged_in_the_log(tested: Service) -> None:
    told = tested.decide("bot-2", context={"userAgent": BOT})
    assert told["experiments"] == []
    assert tested.logged("bot-2")[0].bot


def test_a_visitor_keeps_the_variant_when_they_sign_in(tested: Service) -> None:
    def variant(**ids: str) -> str:
        reply = tested.post("/v1/decisions", {**ids, "placements": [{"id": "calm"}]})
        return next((one["variant"] for one in reply.json()["experiments"] if one["id"] == "hero"), "none")

    for number in range(4):
        visitor, customer = f"visits-{number}", f"signs-in-{number}"
        tested.post(
            "/v1/track", {"anonymousId": visitor, "event": "Product Viewed", "properties": {"product_id": "o-1"}}
        )
        before = variant(anonymous_id=visitor)
        token = tested.post("/v1/identify", {"anonymousId": visitor, "userId": customer}).json()["token"]
        tested.decide(customer, after=token)
        assert variant(customer_id=customer) == variant(customer_id=customer, anonymous_id=visitor) == before
