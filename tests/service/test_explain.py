"""Why and why not: contributions that add up, and a reason for everything that is not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.bundle import calibrate
from tests.service import shop

if TYPE_CHECKING:
    from tests.service.running import Service


def explained(service: Service, customer: str, placement: str = "calm", **asked: Any) -> tuple[Any, Any]:
    answer = service.decide(customer, placement, explain=True, **asked)["placements"][0]
    return answer["items"], answer["explanation"]


def test_contributions_with_base_and_others_sum_to_the_score_behind_the_propensity(service: Service) -> None:
    token = service.track("why-1", "Product Viewed", product_id="o-4")
    items, explanation = explained(service, "why-1", placements=[{"id": "calm", "limit": 5}], after=token)
    assert [item["id"] for item in explanation["items"]] == [item["id"] for item in items]
    for item, why in zip(items, explanation["items"], strict=True):
        told = [each["contribution"] for each in why["contributions"]]
        assert why["base"] + sum(told) + why["others"] == pytest.approx(why["score"], abs=1e-9)
        assert calibrate(shop.describe("1").calibration, np.array([why["score"]]))[0] == pytest.approx(
            item["propensity"], abs=1e-9
        )
        assert [abs(each) for each in told] == sorted((abs(each) for each in told), reverse=True)
        assert 1 <= len(told) <= 6
        for each in why["contributions"]:
            assert each["feature"] in shop.signature().names
            assert ("raises" if each["contribution"] > 0 else "lowers") in each["words"]


def test_categories_are_told_as_words_and_missing_values_as_unknown(service: Service) -> None:
    values: dict[str, Any] = {}
    for number in range(6):
        _, explanation = explained(
            service, f"why-2-{number}", placements=[{"id": "calm", "limit": 12}], context={"device": "mobile"}
        )
        for item in explanation["items"]:
            values |= {each["feature"]: (each["value"], each["words"]) for each in item["contributions"]}
    categorical = [feature.name for feature in shop.signature().features if feature.kind == "category"]
    for name, (value, words) in values.items():
        assert isinstance(value, str) or name not in categorical or value is None
        assert ("unknown" in words) == (value is None)


def test_each_candidate_is_shown_or_has_its_reason(service: Service) -> None:
    items, explanation = explained(
        service, "why-3", placements=[{"id": "grid", "limit": 3, "candidates": [*shop.OFFERS[:6], "nothing"]}]
    )
    reasons = {each["id"]: each for each in explanation["not_shown"]}
    assert {item["id"] for item in items} | set(reasons) == {*shop.OFFERS[:6], "nothing"}
    assert reasons.pop("nothing")["reason"] == "unknown_candidate"
    lowest = min(item["priority"] for item in items)
    last = max(shop.OFFERS.index(item["id"]) for item in items if item["priority"] == lowest)  # ties go by the catalog
    for each in reasons.values():
        if each["priority"] < lowest:
            assert each["reason"] == f"priority is {lowest - each['priority']:.4g} below the last shown"
        elif each["priority"] == lowest and shop.OFFERS.index(each["id"]) > last:
            assert each["reason"] == "equal priority, and later in the catalog"
        else:
            assert each["reason"] == "an explored item took the place"


def test_what_stands_elsewhere_on_the_page_is_told(service: Service) -> None:
    page = [{"id": "pair"}, {"id": "calm", "candidates": ["o-1", "o-5"]}]
    answer = service.decide("why-4", placements=page, explain=True)
    [told] = answer["placements"][1]["explanation"]["not_shown"]
    assert (told["id"], told["reason"], told["priority"]) == ("o-1", "shown_on_page", None)
    assert told["words"] == "it stands elsewhere on the page already"


def test_without_a_model_nothing_is_contributed_and_the_reasons_stay(service: Service) -> None:
    items, explanation = explained(service, "why-5", flags={"look": "unmodelled"})
    assert explanation["items"] == [
        {"id": items[0]["id"], "score": None, "base": None, "contributions": [], "others": None}
    ]
    assert len(explanation["not_shown"]) == 11


def test_an_explanation_changes_neither_the_decision_nor_its_log(service: Service) -> None:
    plain = service.decide("why-6", "grid", decision_id="why-6-plain")
    told = service.decide("why-6", "grid", explain=True)
    assert "explanation" not in plain["placements"][0]
    assert "explanation" in told["placements"][0]
    logged = {decision.decision_id: decision for decision in service.logged("why-6")}
    assert set(logged) == {plain["decision_id"], told["decision_id"]}
