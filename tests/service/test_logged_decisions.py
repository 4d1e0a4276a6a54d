"""A decision is found again by its id: at once in the streams, later in the archive."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest

from features import archive, stream
from service.decisions import lookup

if TYPE_CHECKING:
    from features.home import Home
    from tests.service.running import Service


def told(service: Service, decision_id: str) -> dict[str, Any]:
    reply = service.get(f"/v1/decisions/{urllib.parse.quote(decision_id, safe='')}")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


@pytest.mark.parametrize("decision_id", [None, "told/with a slash", "ä%2F?#"])
def test_a_decision_is_told_from_the_stream_and_from_the_archive_alike(
    service: Service, decision_id: str | None
) -> None:
    customer = f"told-{decision_id}"
    events = [{"event": "Product Viewed", "properties": {"product_id": "o-8"}}]
    page = [{"id": "grid", "limit": 3}, {"id": "calm", "candidates": ["o-1", "nowhere"]}]
    with service.frozen("worker"):
        answer = service.decide(
            customer, placements=page, events=events, flags={"look": "usual"}, decision_id=decision_id
        )
        found = told(service, answer["decision_id"])
    assert (found["decision_id"], found["customer"]) == (decision_id or answer["decision_id"], customer)
    assert (found["rung"], found["catalog_version"]) == (answer["rung"], answer["catalog_version"])
    assert found["experiments"] == [{"id": "look", "variant": "usual", "forced": True}]
    assert [event["event"] for event in found["events"]] == ["Product Viewed"]
    assert found["placements"][1]["rejected"]["unknown_candidate"] == ["nowhere"]
    for logged, answered in zip(found["placements"], answer["placements"], strict=True):
        assert logged["model"] == "offers/1"
        drawn = [item.pop("selection_probability") for item in logged["items"]]
        assert all(0 < probability <= 1 for probability in drawn)  # the variant's own, though it was forced
        assert [item["selection_probability"] for item in answered["items"]] == [None] * len(drawn)
        assert logged["items"] == [{name: item[name] for name in logged["items"][0]} for item in answered["items"]]
    assert service.archived(customer)
    with service.connect() as redis:
        redis.xtrim(stream.events_key(stream.partition_of(customer, 4)), maxlen=0)
    again = told(service, answer["decision_id"])
    for slot in again["placements"]:
        for item in slot["items"]:
            del item["selection_probability"]
    assert again == found


def test_a_decision_that_was_archived_long_after_it_was_made_is_found(service: Service, home: Home) -> None:
    decision_id = service.decide("told-late")["decision_id"]
    [logged] = service.logged("told-late")
    later = logged.time + 3 * lookup.AFTER
    assert lookup.find_archived(home.archive, decision_id) is None
    archive.write(home.archive, "0", archive.tabulate(0, [archive.entry(later, logged)]))
    assert lookup.find_archived(home.archive, decision_id) == logged


@pytest.mark.parametrize(
    "unknown", ["nothing", "01928374-0000-7000-8000-000000000000", "x" * 256, "%ED%A0%80", "a%2Fb"]
)
def test_what_was_never_decided_is_not_there(service: Service, unknown: str) -> None:
    reply = service.get(f"/v1/decisions/{unknown}")
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["field"] == "id"


def test_an_id_that_no_decision_can_have_is_refused(service: Service) -> None:
    assert service.get(f"/v1/decisions/{'x' * 257}").status_code == 400


def test_without_redis_the_archive_still_tells(service: Service) -> None:
    decision_id = service.decide("told-away")["decision_id"]
    assert service.logged("told-away")
    with service.frozen("redis"):
        assert told(service, decision_id)["decision_id"] == decision_id
        assert service.get("/v1/decisions/never").status_code == 503
