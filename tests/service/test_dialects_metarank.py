"""Requests as clients of metarank send them, against a running service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from features.events.schema import Track, decode
from tests.service.running import wait_until

if TYPE_CHECKING:
    from tests.service.running import Service

RANKING: dict[str, Any] = {
    "event": "ranking",
    "id": "mr-1",
    "timestamp": "1599391467000",
    "user": "mr-user-1",
    "session": "mr-session-1",
    "fields": [{"name": "query", "value": "cat"}, {"name": "source", "value": "search"}],
    "items": [
        {"id": "item3", "fields": [{"name": "relevancy", "value": 2.0}, {"name": "category", "value": "pets"}]},
        {"id": "item1", "fields": [{"name": "relevancy", "value": 1.0}]},
        {"id": "o-2"},
    ],
}


def tracked(service: Service, customer: str) -> list[Track]:
    return [event for _, payload in service.archived(customer) if isinstance(event := decode(payload), Track)]


def test_a_ranking_of_metarank_orders_its_items_in_the_placement_of_that_name(service: Service) -> None:
    reply = service.post("/rank/calm", RANKING)
    assert reply.status_code == 200, reply.text
    items = reply.json()["items"]
    assert sorted(item["item"] for item in items) == ["item1", "item3", "o-2"]
    scores = [item["score"] for item in items]
    assert scores == sorted(scores, reverse=True)  # nothing is explored here
    assert all("features" not in item for item in items)
    [decision] = service.logged("mr-user-1")
    assert decision.placements[0].id == "calm"
    assert [item.id for item in decision.placements[0].items] == [items[0]["item"]]  # as many as the placement shows
    assert decision.supplied[0]["features"] == {"relevancy": 2.0, "category": "pets"}
    explained = service.post("/rank/calm?explain=true", RANKING | {"id": "mr-explained"}).json()
    named = {feature["name"] for feature in explained["items"][0]["features"]}
    assert "candidate__price" in named
    assert [item["item"] for item in explained["items"]] == [item["item"] for item in items]


def test_feedback_of_metarank_becomes_exposures_clicks_orders_and_traits(service: Service) -> None:
    ranking = RANKING | {"id": "mr-2", "user": "mr-user-2"}
    service.post("/rank/grid", ranking)
    click = {"event": "interaction", "id": "mr-2-click", "ranking": "mr-2", "item": "item3", "type": "click"}
    bought = {"event": "interaction", "id": "mr-2-buy", "item": "o-2", "type": "purchase", "user": "mr-user-2"}
    user = {"event": "user", "id": "mr-2-user", "user": "mr-user-2", "fields": [{"name": "age", "value": 30}]}
    item = {"event": "item", "id": "mr-2-item", "item": "item3", "fields": [{"name": "color", "value": ["red"]}]}
    reply = service.post("/feedback", [ranking, click, bought, user, item])
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert (told["status"], told["accepted"], told["updated"], told["ignored"]) == ("ok", 4, 0, {"item": 1})
    service.post("/feedback", click)  # once more: counted once
    events = tracked(service, "mr-user-2")
    assert [event.event for event in events] == [*["Promotion Viewed"] * 3, "Promotion Clicked", "Order Completed"]
    assert all(event.properties["decision_id"] == "mr-2" for event in events[:4])
    assert {event.properties["placement"] for event in events[:4]} == {"grid"}
    assert events[3].properties["promotion_id"] == "item3"
    assert events[3].properties["category"] == "pets"
    assert events[4].properties["products"][0]["product_id"] == "o-2"


def test_what_was_seen_of_a_request_s_own_item_counts_in_the_next_ranking(service: Service) -> None:
    def views(ranking: str) -> float:
        reply = service.post("/rank/calm?explain=true", RANKING | {"id": ranking, "user": "mr-user-3"}).json()
        found = next(item for item in reply["items"] if item["item"] == "item-seen")
        return float(
            next(f["value"] for f in found["features"] if f["name"] == "candidate__product_viewed__decayed_7d")
        )

    RANKING["items"].append({"id": "item-seen"})
    try:
        assert views("mr-3") == 0.0
        lines = b"\n".join(
            b'{"event": "interaction", "id": "mr-3-%d", "item": "item-seen", "type": "view", "user": "mr-u"}' % number
            for number in range(5)
        )
        assert service.post("/feedback", lines).json()["accepted"] == 5
        attempts = iter(range(10_000))
        wait_until(lambda: views(f"mr-3-again-{next(attempts)}") > 4.0)
    finally:
        RANKING["items"].pop()


def test_what_metarank_would_not_read_is_refused(service: Service) -> None:
    for path, body, status in (
        ("/rank/nowhere", RANKING | {"id": "mr-4"}, 404),
        ("/rank/calm", RANKING | {"items": []}, 400),
        ("/rank/calm", RANKING | {"items": [{"id": "a"}, {"id": "a"}]}, 400),
        ("/rank/calm", {"items": [{"id": "a"}]}, 400),
        ("/rank/calm", b"{", 400),
        ("/feedback", {"event": "horoscope"}, 400),
        ("/feedback", [{"event": "interaction", "id": "x"}], 400),
        ("/feedback", {"event": "interaction", "id": "x", "item": "y", "type": "click", "timestamp": "soon"}, 400),
        ("/feedback", b"no json", 400),
    ):
        reply = service.post(path, body)
        assert reply.status_code == status, (path, body, reply.text)
        assert reply.json()["status"] == "error"
        assert reply.json()["message"]
    assert "[0].item" in service.post("/feedback", [{"event": "interaction", "id": "x"}]).json()["message"]
