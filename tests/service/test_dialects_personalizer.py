"""Requests as clients of Azure Personalizer send them, against a running service."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from features.events.schema import Track, decode
from features.home import Home
from tests.service import running, shop
from tests.service.flagging import put, put_back
from tests.service.running import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.running import Service

RANK = "/personalizer/v1.0/rank"
NEWS: dict[str, Any] = {
    "contextFeatures": [{"timeOfDay": "morning"}, {"device": {"type": "mobile", "os": "Windows"}}],
    "actions": [
        {"id": "news-sport", "features": [{"category": "sport", "price": 3.5}, {"tags": ["short"]}]},
        {"id": "news-politics", "features": [{"category": "politics"}, {"sentiment": {"score": 0.4}}]},
        {"id": "news-weather", "features": []},
        {"id": "o-3", "features": [{"category": "ignored, since the catalog knows it"}]},
    ],
    "excludedActions": ["news-weather"],
    "deferActivation": False,
}


def rank(service: Service, customer: str | None = None, **changed: Any) -> dict[str, Any]:
    query = "" if customer is None else f"?customer={customer}"
    reply = service.post(RANK + query, NEWS | changed)
    assert reply.status_code == 201, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def tracked(service: Service, customer: str) -> list[Track]:
    return [event for _, payload in service.archived(customer) if isinstance(event := decode(payload), Track)]


def test_a_rank_of_personalizer_orders_the_actions_of_the_request(service: Service) -> None:
    answer = rank(service, "az-1", eventId="az-event-1")
    assert answer["eventId"] == "az-event-1"
    ids = [action["id"] for action in answer["ranking"]]
    assert sorted(ids) == sorted(action["id"] for action in NEWS["actions"])
    assert ids[2] == "news-weather"  # what is excluded keeps its place
    assert ids[0] == answer["rewardActionId"]
    chance = {action["id"]: action["probability"] for action in answer["ranking"]}
    assert chance["news-weather"] == 0.0
    assert sum(chance.values()) == pytest.approx(1.0)
    assert rank(service, "az-1", eventId="az-event-1") == answer
    assert rank(service)["eventId"]  # one is made for who names none


def test_the_placement_and_its_exploration_are_the_catalogs(service: Service) -> None:
    reply = service.post(f"{RANK}?placement=grid&customer=az-2", NEWS | {"eventId": "az-event-2"}).json()
    chances = sorted((action["probability"] for action in reply["ranking"]), reverse=True)
    assert chances == pytest.approx([0.7 + 0.1, 0.1, 0.1, 0.0])
    missing = service.post(f"{RANK}?placement=nowhere", NEWS)
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "ResourceNotFound"


def test_candidates_of_the_request_are_logged_with_all_that_was_supplied(service: Service) -> None:
    answer = rank(service, "az-3", eventId="az-event-3")
    [decision] = service.logged("az-3")
    assert decision.decision_id == "az-event-3"
    assert decision.context["timeOfDay"] == "morning"
    assert decision.placements[0].candidates == ["news-sport", "news-politics", "o-3"]
    assert decision.placements[0].items[0].id == answer["rewardActionId"]
    supplied = {one["id"]: one for one in decision.supplied}
    assert supplied["news-sport"]["attributes"] == {"category": "sport", "price": 3.5, "tags": ["short"]}
    assert supplied["news-politics"]["features"]["sentiment"] == {"score": 0.4}
    assert "attributes" not in supplied["o-3"]


def test_exposures_and_rewards_become_events_and_features(service: Service) -> None:
    only = [{"id": "news-only", "features": [{"category": "sport"}]}]
    rank(service, "az-4", eventId="az/event 4", actions=only, excludedActions=[])
    first = service.post("/personalizer/v1.0/events/az%2Fevent%204/reward", {"value": 0.75})
    assert first.status_code == 204, first.text
    service.post("/personalizer/v1.0/events/az%2Fevent%204/reward", {"value": 1.0})  # the first one counts
    seen, clicked = tracked(service, "az-4")
    assert (seen.event, clicked.event) == ("Promotion Viewed", "Promotion Clicked")
    assert clicked.properties["reward"] == 0.75
    for event in (seen, clicked):
        assert event.properties["promotion_id"] == "news-only"
        assert event.properties["decision_id"] == "az/event 4"
        assert event.properties["category"] == "sport"
    rate = "customer__promotion__rate_30d"
    wait_until(lambda: service.features("az-4").get(rate, 0.0) > service.features("az-unknown").get(rate, 0.0))


def test_a_deferred_event_is_seen_once_it_is_activated(service: Service) -> None:
    rank(service, "az-5", eventId="az-event-5", deferActivation=True)
    assert tracked(service, "az-5") == []
    assert service.post("/personalizer/v1.0/events/az-event-5/activate", b"").status_code == 204
    assert service.post("/personalizer/v1.0/events/az-event-5/reward", {"value": -1}).status_code == 204
    assert [event.event for event in tracked(service, "az-5")] == ["Promotion Viewed", "Promotion Declined"]


def test_what_personalizer_would_refuse_is_refused_in_its_words(service: Service) -> None:
    twice = [{"id": "a"}, {"id": "a"}]
    for wrong, target in (
        (NEWS | {"actions": []}, "actions"),
        (NEWS | {"actions": twice}, "actions"),
        (NEWS | {"actions": [{"id": str(n)} for n in range(51)]}, "actions"),
        (NEWS | {"actions": [{"features": []}]}, "actions[0].id"),
        (NEWS | {"excludedActions": [action["id"] for action in NEWS["actions"]]}, "excludedActions"),
        (NEWS | {"eventId": "e" * 257}, "eventId"),
    ):
        reply = service.post(RANK, wrong)
        assert reply.status_code == 400
        assert reply.json()["error"]["code"] == "BadRequest"
        assert reply.json()["error"]["target"] == target
    assert service.post(RANK, b"{").json()["error"]["code"] == "BadRequest"
    for body in ({"value": 2}, {"value": "much"}, {}):
        reply = service.post("/personalizer/v1.0/events/az-event-1/reward", body)
        assert (reply.status_code, reply.json()["error"]["target"]) == (400, "value")
    unknown = service.post("/personalizer/v1.0/events/nobody-ranked-this/reward", {"value": 1})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "ResourceNotFound")
    other = service.post(f"{RANK}?customer=az-1", NEWS | {"eventId": "az-event-1", "contextFeatures": [{"other": 1}]})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "BadRequest")


def test_governance_holds_for_candidates_of_the_catalog_that_a_request_brings(service: Service) -> None:
    """Here by what the catalog says of a placement: `pair` shows what it is asked for, and nothing is unknown."""
    only = [{"id": text} for text in (*shop.OFFERS[:2], "new-1")]
    reply = service.post(f"{RANK}?placement=pair&customer=az-6", NEWS | {"actions": only, "excludedActions": []})
    assert reply.status_code == 201
    assert {action["id"] for action in reply.json()["ranking"]} == {"o-0", "o-1", "new-1"}


def test_a_native_decision_s_id_and_a_rank_s_do_not_mix(service: Service) -> None:
    """One id is one decision, in whatever words it is asked for."""
    rank(service, "az-7", eventId="az-event-7")
    asked = {"customer_id": "az-7", "placements": [{"id": "calm"}], "decision_id": "az-event-7"}
    assert service.post("/v1/decisions", asked).status_code == 409


def test_where_write_keys_are_set_the_subscription_key_is_one_of_them(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    shop.write_catalog(home)
    own = running.start(home, workers=1, environment={"KAIROS_WRITE_KEYS": "secret"})
    try:
        for path, body in ((RANK, NEWS), ("/personalizer/v1.0/events/e/activate", b"")):
            refused = own.post(path, body)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "BadRequest"
        assert own.post(RANK, NEWS, {"Ocp-Apim-Subscription-Key": "secret"}).status_code == 201
        assert own.post("/feedback", []).status_code == 401
        assert own.post("/feedback", [], {"Authorization": "Bearer secret"}).json()["accepted"] == 0
    finally:
        running.stop(own)


def test_an_apprentice_serves_the_first_action_and_logs_what_it_would_have_shown(service: Service) -> None:
    document = copy.deepcopy(shop.CATALOG)
    document["placements"].append({"id": "learning", "default": "o-0", "apprentice": True, "exploration": 0.0})
    with put_back(service):
        put(service, document)
        ranks = [f"az-learns-{number}" for number in range(2)]
        for event_id, excluded in zip(ranks, ([], ["news-sport"]), strict=True):
            reply = service.post(
                f"{RANK}?placement=learning&customer={event_id}",
                NEWS | {"eventId": event_id, "excludedActions": excluded},
            )
            answer = reply.json()
            first = next(action["id"] for action in NEWS["actions"] if action["id"] not in excluded)
            assert (reply.status_code, answer["rewardActionId"]) == (201, first)
            assert {one["id"]: one["probability"] for one in answer["ranking"]}[first] == 1.0
            [decision] = service.logged(event_id)
            [slot] = decision.placements
            assert [item.id for item in slot.items] == [first]
            assert slot.would
            assert [event.properties["promotion_id"] for event in tracked(service, event_id)] == [first]
            command = [sys.executable, "-m", "kairos", "replay-decision", event_id, "--home", str(service.home.root)]
            again = subprocess.run(command, capture_output=True, text=True, check=False)
            assert again.returncode == 0, again.stdout + again.stderr
