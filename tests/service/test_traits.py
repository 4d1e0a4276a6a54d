"""What identify events told of a customer is there for rules and templates: in decisions, flags and audiences."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from models.bundle import load
from service.decisions.choose import choose
from service.decisions.replaying import record_again
from tests.service import shop
from tests.service.crowd import NOW, customer, decisions, filler, frame, make, rows
from tests.service.flagging import put, put_back
from tests.service.running import wait_until
from tests.service.test_choose import framed, question
from tests.service.test_governing import governed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from features.settings import Settings
    from tests.service.running import Service

GOLD = "traits.plan == 'gold'"


def test_the_requests_traits_lie_over_the_stored_ones() -> None:
    catalog = governed({1: {"rule": GOLD}}, calm={"candidates": ["o-0", "o-1"], "limit": 2})

    def shown(stored: dict[str, Any], **context: Any) -> bool:
        chosen = choose(question(framed(catalog), "calm", traits=stored, context=context))
        return "o-1" not in [*itertools.chain(*chosen.slates[0].rejected.values())]

    assert shown({"plan": "gold"})
    assert not shown({"plan": "free"})
    assert not shown({})
    assert shown({"plan": "free"}, traits={"plan": "gold"})
    assert not shown({"plan": "gold"}, traits={"plan": "free"})
    assert shown({"plan": "gold"}, traits={"age": 3})
    assert shown({"plan": "gold"}, traits="none")


def test_eligibility_of_an_experiment_reads_stored_traits() -> None:
    tried = {
        "id": "x",
        "status": "running",
        "placements": ["calm"],
        "eligibility": GOLD,
        "variants": [{"id": "a"}, {"id": "b"}],
    }
    frame = framed(governed(experiments=[tried]))
    assert choose(question(frame, "calm", unit="c-1", traits={"plan": "gold"})).variants
    assert not choose(question(frame, "calm", unit="c-1", traits={"plan": "free"})).variants
    asked = question(frame, "calm", unit="c-1", traits={"plan": "free"}, context={"traits": {"plan": "gold"}})
    assert choose(asked).variants


def test_an_audience_is_chosen_by_traits(settings: Settings, redis_url: str, tmp_path: Path) -> None:
    fill = filler(settings, redis_url)
    gold: dict[str, Any] = {"traits": {"plan": (NOW, "gold")}}
    candidates = copy.deepcopy(shop.CANDIDATES)
    candidates[2]["rule"] = GOLD
    fill(
        customer("ada", 1, **gold),
        customer("bob", 1, traits={"plan": (NOW, "free")}),
        customer("shy", 1, **gold, consent={"personalisation": (NOW, False)}),
        candidates=candidates,
    )
    done = make(settings, tmp_path / "gold.parquet", GOLD)
    assert (done.given, done.outside, done.unknown) == (1, 1, 1)
    assert [row["customer"] for row in rows(tmp_path / "gold.parquet")] == ["ada"]
    [decision] = decisions(redis_url)
    assert decision.traits == {"plan": "gold"}
    assert "rule" not in decision.placements[0].rejected


@pytest.fixture(scope="module")
def ruled(service: Service) -> Iterator[Service]:
    document = copy.deepcopy(shop.CATALOG)
    document["candidates"][1] |= {
        "rule": GOLD,
        "content": {"title": "Hello {{ traits.first_name }}"},
        "fallback": {"title": "Hello"},
    }
    document["placements"].append({"id": "gold", "default": "o-0", "pinned": ["o-1"], "exploration": 0.0})
    variants = {"on": True, "off": False}
    rules = [{"when": GOLD, "variant": "on"}]
    document["flags"] = [{"id": "club", "variants": variants, "default": "off", "rules": rules}]
    with put_back(service):
        put(service, document)
        yield service


def identify(service: Service, **event: Any) -> None:
    assert service.post("/v1/identify", event).status_code == 200


def test_a_decision_knows_what_was_told_a_moment_ago(ruled: Service) -> None:
    service = ruled
    assert shown(service, "ada") != "o-1"
    identify(service, userId="ada", traits={"plan": "gold", "first_name": "Ada"})
    first = service.decide("ada", "gold")
    [item] = first["placements"][0]["items"]
    assert (item["id"], item["content"]) == ("o-1", {"title": "Hello Ada"})
    [logged] = [one for one in service.logged("ada") if one.decision_id == first["decision_id"]]
    assert logged.traits == {"plan": "gold", "first_name": "Ada"}
    identify(service, userId="ada", traits={"plan": "free"})
    assert shown(service, "ada") != "o-1"
    assert shown(service, "ada", context={"traits": {"plan": "gold"}}) == "o-1"
    inline = {"type": "identify", "userId": "ada", "traits": {"plan": "gold"}}
    assert shown(service, "ada", events=[inline]) == "o-1"
    wait_until(lambda: service.get("/v1/customers/ada").json()["traits"]["plan"] == "gold")


def test_a_device_that_signs_in_brings_and_gets_the_traits(ruled: Service) -> None:
    service = ruled
    identify(service, anonymousId="phone", traits={"first_name": "Bea"})
    identify(service, userId="bea", anonymousId="phone", traits={"plan": "gold"})
    wait_until(lambda: shown(service, "bea") == "o-1")
    wait_until(lambda: title(service, "bea") == "Hello Bea")


def test_who_does_not_want_to_be_known_has_no_traits(ruled: Service) -> None:
    service = ruled
    identify(service, userId="cleo", traits={"plan": "gold"})
    assert shown(service, "cleo") == "o-1"
    service.post("/v1/customers/cleo/consent", {"personalisation": False})
    wait_until(lambda: shown(service, "cleo") != "o-1")


def test_flags_are_ruled_by_stored_traits(ruled: Service) -> None:
    service = ruled
    identify(service, userId="dora", traits={"plan": "gold"})

    def given(**context: Any) -> Any:
        asked = {"context": {"targetingKey": "dora", **context}}
        return service.post("/ofrep/v1/evaluate/flags/club", asked).json()["value"]

    assert given() is True
    assert given(traits={"plan": "free"}) is False


def shown(service: Service, name: str, **asked: Any) -> str:
    found: str = service.decide(name, "gold", **asked)["placements"][0]["items"][0]["id"]
    return found


def title(service: Service, name: str) -> str:
    found: str = service.decide(name, "gold")["placements"][0]["items"][0]["content"]["title"]
    return found


def test_a_decision_with_traits_is_made_again_to_the_bit(settings: Settings, redis_url: str, tmp_path: Path) -> None:
    fill = filler(settings, redis_url)
    candidates = copy.deepcopy(shop.CANDIDATES)
    candidates[2]["value"] = "traits.size * 2.0"
    fill(customer("ada", 1, traits={"size": (NOW, 4.0)}), candidates=candidates)
    make(settings, tmp_path / "a.parquet")
    [decision] = decisions(redis_url)
    models = {"champion": load(settings.home.bundles / "offers" / "1")}
    assert record_again(decision, frame(settings, redis_url), models) == decision
