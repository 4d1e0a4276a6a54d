"""Decisions over HTTP, of the real service."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types

from tests.service import shop
from tests.service.running import wait_until

if TYPE_CHECKING:
    from tests.service.running import Service


def ids(answer: dict[str, Any], at: int = 0) -> list[str]:
    return [item["id"] for item in answer["placements"][at]["items"]]


def test_an_answer_has_the_shape_that_the_schema_promises(service: Service) -> None:
    schema = service.get("/schema/openapi.json").json()
    promised = {"$ref": "#/components/schemas/DecisionAnswer", "components": schema["components"]}
    answers = [
        service.decide("shape-1", explain=True, flags={"look": "usual"}),
        service.decide("shape-1", flags={"look": "unmodelled"}, decision_id="shape-d"),
        service.decide("shape-1", placements=[{"id": "grid", "candidates": ["nothing"]}], explain=True),
    ]
    for answer in answers:
        jsonschema.Draft202012Validator(promised).validate(answer)
    first = answers[0]
    assert first["rung"] == "model"
    assert first["model"] == {"name": "offers", "version": "1", "reward": "click"}
    assert first["experiments"] == [{"id": "look", "variant": "usual", "forced": True}]
    assert first["catalog_version"] == service.get("/ready").json()["catalog_version"]
    assert first["features_as_of"] is None
    assert 0 < first["took_ms"] < 30_000
    item = first["placements"][0]["items"][0]
    offer = shop.CANDIDATES[shop.OFFERS.index(item["id"])]
    assert (item["kind"], item["rank"], item["value"], item["content"]) == (
        "offer",
        1,
        offer["value"],
        offer["content"],
    )
    assert item["priority"] == item["propensity"] * item["value"]
    assert 0 < item["propensity"] < 1
    assert item["selection_probability"] is None  # forced
    assert answers[1]["decision_id"] == "shape-d"
    assert answers[1]["model"] is None


def test_a_page_of_several_placements_shows_no_candidate_twice(service: Service) -> None:
    page = [{"id": "pair"}, {"id": "calm", "limit": 3}, {"id": "grid", "limit": 7}]
    answer = service.decide("page-1", placements=page)
    assert [placement["id"] for placement in answer["placements"]] == ["pair", "calm", "grid"]
    assert [len(placement["items"]) for placement in answer["placements"]] == [2, 3, 7]
    shown = [text for at in range(3) for text in ids(answer, at)]
    assert sorted(shown) == sorted(shop.OFFERS)
    assert [item["rank"] for item in answer["placements"][2]["items"]] == [1, 2, 3, 4, 5, 6, 7]


def test_limits_come_from_the_request_else_from_the_catalog(service: Service) -> None:
    assert len(ids(service.decide("limit-1", "grid"))) == 4
    assert len(ids(service.decide("limit-1", placements=[{"id": "grid", "limit": 2}]))) == 2
    assert len(ids(service.decide("limit-1", placements=[{"id": "grid", "limit": 100}]))) == 12


def test_candidates_of_the_request_compete_alone_and_unknown_ones_are_explained(service: Service) -> None:
    asked = [{"id": "grid", "limit": 5, "candidates": ["o-9", "nothing", "o-4", "o-9"]}]
    placement = service.decide("supplied-1", placements=asked, explain=True)["placements"][0]
    assert {item["id"] for item in placement["items"]} == {"o-4", "o-9"}
    [unknown] = placement["explanation"]["not_shown"]
    assert (unknown["id"], unknown["reason"], unknown["priority"]) == ("nothing", "unknown_candidate", None)


def test_the_default_stands_in_when_no_candidate_is_known(service: Service) -> None:
    answer = service.decide("supplied-2", placements=[{"id": "grid", "candidates": ["nothing", "nowhere"]}])
    item = answer["placements"][0]["items"][0]
    assert (item["id"], item["selection_probability"], item["propensity"]) == ("o-0", 1.0, None)


def test_flags_force_a_variant(service: Service) -> None:
    uniform = service.decide("flag-1", "grid", flags={"look": "uniform"})
    probabilities = [item["selection_probability"] for item in uniform["placements"][0]["items"]]
    assert probabilities == [None] * 4  # those of the variant stand in the log
    assert uniform["experiments"] == [{"id": "look", "variant": "uniform", "forced": True}]
    assert service.decide("flag-1", flags={"look": "unmodelled"})["rung"] == "prior"


def test_a_known_id_goes_before_an_anonymous_one_and_either_will_do(service: Service) -> None:
    token = service.track("both-known", "Product Viewed", product_id="o-1")
    seen = service.decide("both-known", anonymous_id="both-anonymous", after=token)
    assert seen["features_as_of"] is not None
    reply = service.post("/v1/decisions", {"anonymous_id": "both-anonymous", "placements": [{"id": "calm"}]})
    assert reply.json()["features_as_of"] is None


def test_an_acknowledged_event_is_in_the_decision_that_waits_for_it(service: Service) -> None:
    for number in range(20):
        token = service.track(f"after-{number % 4}", "Product Viewed", product_id=shop.OFFERS[number % 12])
        as_of = datetime.fromisoformat(service.decide(f"after-{number % 4}", after=token)["features_as_of"])
        assert round(as_of.timestamp() * 1e6) == int(token.partition("-")[2])


def test_inline_events_are_seen_at_once_and_appended_exactly_once(service: Service) -> None:
    viewed = {"event": "Product Viewed", "properties": {"product_id": "o-7"}}
    named = viewed | {"messageId": "inline-named"}
    before = service.decide("inline-1", placements=[{"id": "calm", "limit": 12}])
    seen = service.decide(
        "inline-1", placements=[{"id": "calm", "limit": 12}], events=[viewed, named], decision_id="inline-d"
    )
    assert {item["id"]: item["priority"] for item in before["placements"][0]["items"]} != {
        item["id"]: item["priority"] for item in seen["placements"][0]["items"]
    }
    assert seen["features_as_of"] is not None
    service.decide("inline-1", placements=[{"id": "calm", "limit": 12}], events=[viewed, named], decision_id="inline-d")
    names = [message_id for message_id, _ in service.archived("inline-1")]
    assert names.count("inline-d#0") == names.count("inline-named") == names.count("decision:inline-d") == 1
    assert service.features("inline-1")["customer__product_viewed__count_1d"] == 2.0
    (logged,) = [decision for decision in service.logged("inline-1") if decision.decision_id == "inline-d"]
    assert [(event.message_id, event.decision_id) for event in logged.events] == [
        ("inline-d#0", "inline-d"),
        ("inline-named", "inline-d"),
    ]


def test_an_inline_event_that_was_sent_before_is_not_counted_again(service: Service) -> None:
    page = [{"id": "calm", "limit": 12}]
    viewed = {"event": "Product Viewed", "properties": {"product_id": "o-7"}, "messageId": "twice-m"}
    token = service.post("/v1/track", viewed | {"userId": "twice-1"}).json()["token"]
    service.decide("twice-1", placements=page, after=token, events=[viewed, viewed | {"messageId": "twice-other"}])
    (logged,) = service.logged("twice-1")
    assert [event.message_id for event in logged.events] == ["twice-other"]
    wait_until(lambda: service.features("twice-1")["customer__product_viewed__count_1d"] == 2.0)


def test_inline_events_may_be_of_any_type(service: Service) -> None:
    events: list[dict[str, Any]] = [
        {"type": "identify", "traits": {"plan": "gold"}},
        {"type": "page", "name": "Home"},
        {"type": "group", "groupId": "g-1"},
        {"type": "alias", "previousId": "inline-old"},
    ]
    service.decide("inline-2", events=events, decision_id="inline-2d")
    (logged,) = service.logged("inline-2")
    assert [type(event).__name__ for event in logged.events] == ["Identify", "Page", "Group", "Alias"]
    assert b'"plan":"gold"' in dict(service.archived("inline-2"))["inline-2d#0"]


def test_a_retry_gets_the_same_answer_from_any_process_and_is_logged_once(service: Service) -> None:
    asked = {"customer_id": "retry-1", "placements": [{"id": "grid"}], "decision_id": "retry-d"}
    answers = []
    for part in (*service.apis, *service.apis):
        with service.at(part) as there:
            answers.append(there.post("/v1/decisions", asked).content)
            there.track("retry-1", "Product Viewed", product_id="o-1")
    assert len(set(answers)) == 1
    other = service.post("/v1/decisions", asked | {"placements": [{"id": "calm"}]})
    assert (other.status_code, other.json()["field"]) == (409, "decision_id")
    assert other.headers["content-type"] == "application/problem+json"
    assert len(service.logged("retry-1")) == 1


def test_of_simultaneous_retries_all_get_the_answer_that_is_logged(service: Service) -> None:
    asked = {"customer_id": "race-1", "placements": [{"id": "grid"}], "decision_id": "race-d"}
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(service.post("/v1/decisions", asked).content)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1
    assert len(service.logged("race-1")) == 1


def test_a_decision_id_of_its_own_is_given_to_a_request_without_one(service: Service) -> None:
    first, second = (service.decide("ids-1")["decision_id"] for _ in range(2))
    assert first < second  # UUIDv7 sorts by time
    assert [decision.decision_id for decision in service.logged("ids-1")] == [first, second]


def test_impatient_requests_are_answered_and_harm_no_others(service: Service) -> None:
    """A millisecond is often too short to read; that is no failure of Redis, and no row goes to another customer."""
    customers = [f"hasty-{number}" for number in range(6)]
    tokens = {customer: service.track(customer, "Product Viewed", product_id="o-1") for customer in customers}
    as_of = {customer: service.decide(customer, after=tokens[customer])["features_as_of"] for customer in customers}
    seen: list[tuple[str, Any, str]] = []

    def hammer(customer: str) -> None:
        for _ in range(15):
            answer = service.decide(customer, deadline_ms=1)
            seen.append((customer, answer["features_as_of"], answer["rung"]))

    threads = [threading.Thread(target=hammer, args=(customer,)) for customer in customers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 90
    for customer, features_as_of, rung in seen:
        assert (features_as_of, rung) in ((as_of[customer], "model"), (None, "prior"))
    assert service.decide(customers[0])["rung"] == "model"
