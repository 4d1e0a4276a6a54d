"""Event intake over HTTP: Segment's shapes in, and in the features and the archive what they say."""

from __future__ import annotations

import gzip
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features import dead_letters
from features.events.schema import decode
from tests.service import shop

if TYPE_CHECKING:
    from features.events.schema import Event
    from tests.service.running import Service

KINDS: dict[str, dict[str, Any]] = {
    "track": {"event": "Searched", "properties": {"query": "boots", "deep": {"er": [1, None, "ü"]}}},
    "identify": {"traits": {"plan": "gold"}},
    "page": {"name": "Home", "properties": {"path": "/"}},
    "screen": {"name": "Start", "properties": {"dark": True}},
    "group": {"groupId": "g-1", "traits": {"size": 3}},
    "alias": {"previousId": "old-1"},
}


def stored(service: Service, customer: str) -> list[Event]:
    return [decode(payload) for _, payload in service.archived(customer)]


def batch(service: Service, *events: Any, **shared: Any) -> dict[str, Any]:
    reply = service.post("/v1/batch", {"batch": list(events), **shared})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_taken_by_its_long_and_its_short_path(service: Service, kind: str) -> None:
    for number, path in enumerate((kind, kind[0])):
        reply = service.post(f"/v1/{path}", {"userId": f"kind-{kind}", "messageId": f"{kind}-{number}", **KINDS[kind]})
        assert reply.status_code == 200, reply.text
        assert reply.json()["success"] is True
        assert reply.json()["results"] == [{"status": "accepted"}]
        assert reply.json()["token"]
    events = stored(service, "old-1" if kind == "alias" else f"kind-{kind}")  # what joins ids stays with the old one
    assert [event.message_id for event in events] == [f"{kind}-0", f"{kind}-1"]
    for event in events:
        kept = msgspec.to_builtins(event)
        assert kept["type"] == kind
        assert {name: kept[name] for name in KINDS[kind]} == KINDS[kind]


def test_a_batch_tells_of_each_event_and_a_bad_one_stops_no_other(service: Service) -> None:
    good = {"type": "track", "event": "Searched", "userId": "batch-1"}
    answer = batch(
        service,
        good | {"messageId": "b-0"},
        good | {"messageId": "b-0"},
        {"type": "track", "event": "Searched"},
        good | {"event": ""},
        good | {"type": "tack"},
        good | {"properties": {"text": "x" * 33_000}},
        good | {"userId": {"no": "id"}},
        good | {"timestamp": "yesterday"},
        "not an event",
        None,
        good | {"messageId": "b-10", "anonymousId": "batch-a"},
    )
    statuses = [result["status"] for result in answer["results"]]
    assert statuses == ["accepted", "duplicate", *["rejected"] * 8, "accepted"]
    reasons = [result.get("reason", "") for result in answer["results"]]
    fields = ["userId", "event", "type", "an event has", "userId", "timestamp", "an object", "an object"]
    for reason, field in zip(reasons[2:10], fields, strict=True):
        assert reason.startswith(field)
    assert [event.message_id for event in stored(service, "batch-1")] == ["b-0", "b-10"]


def test_what_a_batch_says_for_all_its_events_holds_where_they_say_nothing(service: Service) -> None:
    event = {"type": "track", "event": "Searched", "userId": "batch-2"}
    shared = {"locale": "de-DE", "page": {"path": "/"}}
    batch(service, event, event | {"context": {"locale": "fr-FR", "ip": "::1"}}, context=shared)
    assert [each.context for each in stored(service, "batch-2")] == [
        shared,
        {"locale": "fr-FR", "page": {"path": "/"}, "ip": "::1"},
    ]


def test_a_batch_of_nothing_but_bad_events_is_answered_like_any_other(service: Service) -> None:
    answer = batch(service, {"type": "track", "event": "Searched"})
    assert [result["status"] for result in answer["results"]] == ["rejected"]
    assert answer["token"] is None


def test_a_bad_single_event_is_a_problem_that_names_the_field(service: Service) -> None:
    for body, field in (
        ({"event": "Searched"}, "userId"),
        ({"userId": "x" * 300, "event": "Searched"}, "userId"),
        ({"userId": "single-1"}, "event"),
        ({"userId": "single-1", "event": 3}, "event"),
        ({"userId": "single-1", "event": "Searched", "properties": []}, "properties"),
        ({"userId": "single-1", "event": "Searched", "timestamp": "2026-11-23", "sentAt": "soon"}, "timestamp"),
        ({"userId": "single-1", "event": "Searched", "timestamp": 1.5, "sentAt": "soon"}, "sentAt"),
        ({"userId": "single-1", "event": "Searched", "properties": {"text": "x" * 33_000}}, None),
    ):
        reply = service.post("/v1/track", body)
        assert (reply.status_code, reply.json().get("field")) == (400, field), reply.text
        assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/v1/import", "/v1/import/", "/v1/b", "/v1/batch/"])
def test_a_batch_is_taken_where_older_clients_send_it(service: Service, path: str) -> None:
    reply = service.post(path, {"batch": [{"type": "track", "event": "Searched", "userId": "older-1"}]})
    assert reply.json()["results"] == [{"status": "accepted"}]


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "text/plain;charset=UTF-8", "application/json; charset=utf-8", "x/y"]
)
def test_beacons_are_taken_whatever_type_they_say_they_are(service: Service, kind: str | None) -> None:
    """With the write key in the body, and fields that nobody here knows."""
    body = {
        "userId": f"beacon-{kind}",
        "event": "Searched",
        "writeKey": "k",
        "integrations": {"All": False},
        "version": 2,
    }
    headers = {} if kind is None else {"Content-Type": kind}
    reply = service.http.post("/v1/t", content=msgspec.json.encode(body), headers=headers)
    assert reply.status_code == 200, reply.text
    assert len(stored(service, f"beacon-{kind}")) == 1


def test_an_event_is_answered_alike_however_its_body_comes(service: Service) -> None:
    def body(number: int) -> bytes:
        return msgspec.json.encode({"userId": "ways", "event": "Searched", "messageId": f"ways-{number}"})

    plain = {"Content-Type": "application/json"}
    ways: list[tuple[Any, dict[str, str]]] = [
        (body(0), plain),
        (body(1), {"Content-Type": "application/json; charset=utf-8"}),
        (body(2), {"Content-Type": "text/plain"}),
        (iter([body(3)[:9], body(3)[9:]]), plain),
        (gzip.compress(body(4)), plain | {"Content-Encoding": "gzip"}),
        (body(5).replace(b"{", b'{"context":{"load":NaN},', 1), plain),
    ]
    told = []
    for content, headers in ways:
        reply = service.http.post("/v1/track", content=content, headers=headers | {"Origin": "https://shop.example"})
        assert reply.status_code == 200, reply.text
        told.append(({name: reply.headers[name] for name in reply.headers if name != "content-length"}, reply.json()))
    assert told[0][0] == {"content-type": "application/json", "access-control-allow-origin": "*"}
    assert all(headers == told[0][0] and answer["results"] == told[0][1]["results"] for headers, answer in told)
    assert [event.message_id for event in stored(service, "ways")] == [f"ways-{number}" for number in range(6)]


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "identity"])
def test_bodies_may_be_gzipped(service: Service, encoding: str) -> None:
    event = {"type": "track", "event": "Searched", "userId": f"zip-{encoding}", "properties": {"text": "ü" * 10_000}}
    raw = msgspec.json.encode({"batch": [event] * 20})
    reply = service.post(
        "/v1/batch", raw if encoding == "identity" else gzip.compress(raw), {"Content-Encoding": encoding}
    )
    assert reply.json()["results"] == [{"status": "accepted"}] * 20
    assert len(stored(service, f"zip-{encoding}")) == 20


def test_pages_of_any_origin_may_send_events_and_read_the_answer(service: Service) -> None:
    """Otherwise a browser tells their scripts that it failed, and they send it again and again."""
    origin = {"Origin": "https://shop.example"}
    for path in ("/v1/track", "/v1/b"):
        asked = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        before = service.http.options(path, headers=asked)
        assert before.status_code == 204
        assert before.headers["access-control-allow-origin"] == "*"
        assert "Authorization" in before.headers["access-control-allow-headers"]
        for body in ({"userId": "origin-1", "event": "Searched"}, {}):
            assert service.post(path, body, origin).headers["access-control-allow-origin"] == "*"
    decision = {"customer_id": "origin-1", "placements": [{"id": "calm"}]}
    assert "access-control-allow-origin" not in service.post("/v1/decisions", decision, origin).headers


def test_a_batch_has_its_limits(service: Service) -> None:
    event = {"type": "track", "userId": "limit-1", "event": "Searched"}
    assert len(batch(service, *[event] * 2_500)["results"]) == 2_500
    for events in ([], [event] * 2_501):
        reply = service.post("/v1/batch", {"batch": events})
        assert (reply.status_code, reply.json()["field"]) == (400, "batch")
    long = {"batch": [event] * 2_500, "context": {"text": "x" * 10_000}}
    reply = service.post("/v1/batch", long)  # small itself, and 25 MB once it stands in each event
    assert (reply.status_code, reply.json()["field"]) == (413, "context")


def test_a_message_counts_once_however_often_it_is_sent(service: Service) -> None:
    event: dict[str, Any] = {"type": "track", "event": "Product Viewed", "userId": "once-1", "messageId": "once-m"}
    event |= {"properties": {"product_id": "o-1"}}
    first = batch(service, event)
    for part in service.apis:
        with service.at(part) as there:
            assert batch(there, event, event)["results"] == [{"status": "duplicate"}] * 2
            single = there.post("/v1/track", event | {"properties": {"product_id": "o-2"}}).json()
            assert (single["results"], single["token"]) == ([{"status": "duplicate"}], None)
    service.decide("once-1", after=first["token"])
    assert len(stored(service, "once-1")) == 2  # with the decision
    assert service.features("once-1")["customer__product_viewed__count_1d"] == 1.0


def test_events_without_an_id_of_their_own_are_all_counted(service: Service) -> None:
    event = {"type": "track", "event": "Product Viewed", "userId": "many-1", "properties": {"product_id": "o-1"}}
    answer = batch(service, *[event] * 5)
    service.decide("many-1", after=answer["token"])
    assert service.features("many-1")["customer__product_viewed__count_1d"] == 5.0


def test_ids_may_be_numbers(service: Service) -> None:
    event = {"userId": 4711, "event": "Product Viewed", "messageId": 12, "properties": {"product_id": 7}}
    token = service.post("/v1/track", event).json()["token"]
    assert service.decide("4711", after=token)["features_as_of"] is not None
    assert stored(service, "4711")[0].message_id == "12"


@pytest.mark.parametrize("years", [-30, -1, 0, 1, 30])
def test_a_clients_clock_drops_out_and_no_event_is_in_the_future(service: Service, years: int) -> None:
    """received - (sent - original): what counts is how long before sending it happened."""
    wrong = datetime.now(UTC) + timedelta(days=365 * years)
    stamps = {"sentAt": wrong.isoformat(), "originalTimestamp": (wrong - timedelta(minutes=10)).isoformat()}
    service.post("/v1/track", {"userId": f"clock-{years}", "event": "Searched", **stamps})
    (event,) = stored(service, f"clock-{years}")
    assert event.received - event.time == 600_000_000


@pytest.mark.parametrize(
    ("stamps", "seconds_ago"),
    [
        ({"timestamp": "2099-01-01T00:00:00Z"}, 0),
        ({"timestamp": 4102444800000}, 0),
        ({"originalTimestamp": "2020-01-01T00:00:00Z", "sentAt": "2019-01-01T00:00:00Z"}, 0),
        ({"timestamp": "1890-01-01"}, None),
        ({"timestamp": "1890-01-01T00:00:00"}, "epoch"),
        ({"timestamp": -1e300}, "epoch"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "epoch"),
        ({"timestamp": 1e308}, None),
    ],
)
def test_impossible_times_are_clamped_or_refused(service: Service, stamps: dict[str, Any], seconds_ago: Any) -> None:
    customer = f"time-{stamps}"
    reply = service.post("/v1/track", {"userId": customer, "event": "Searched", **stamps})
    if seconds_ago is None:
        assert (reply.status_code, reply.json()["field"]) == (400, "timestamp")
        return
    assert reply.status_code == 200, reply.text
    (event,) = stored(service, customer)
    assert event.time == (0 if seconds_ago == "epoch" else event.received)


def test_category_and_price_come_from_the_catalog_where_the_page_does_not_say(service: Service) -> None:
    service.track("rich-1", "Product Viewed", product_id="o-4")
    service.track("rich-1", "Product Viewed", product_id="o-4", category="own", price=1)
    service.track("rich-1", "Promotion Clicked", promotion_id="o-5", decision_id="d-9")
    service.track("rich-1", "Product Viewed", product_id="unknown")
    service.track("rich-1", "Order Completed", products=[{"product_id": "o-1", "quantity": 2}, {"sku": "x"}, 7])
    properties = [msgspec.to_builtins(event)["properties"] for event in stored(service, "rich-1")]
    assert properties == [
        {"product_id": "o-4", "category": "hats", "price": 14.0},
        {"product_id": "o-4", "category": "own", "price": 1},
        {"promotion_id": "o-5", "decision_id": "d-9", "category": "coats", "price": 15.0},
        {"product_id": "unknown"},
        {"products": [{"product_id": "o-1", "quantity": 2, "category": "hats", "price": 11.0}, {"sku": "x"}, 7]},
    ]
    clicked = stored(service, "rich-1")[2]
    assert clicked.decision_id == "d-9"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
TIMES = JSON | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
PROPERTIES = JSON | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("product_id", "promotion_id", "category", "price", "quantity", "revenue", "sku"), JSON)
    | {"products": st.lists(JSON | st.fixed_dictionaries({"product_id": JSON, "quantity": JSON}), max_size=3)},
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from([*KINDS, "tack", None])},
    optional={
        "userId": JSON | st.just("wild"),
        "anonymousId": JSON,
        "messageId": JSON,
        "event": JSON | st.sampled_from(["Product Viewed", "Order Completed", "Promotion Clicked", "Promotion Viewed"]),
        "name": JSON,
        "properties": PROPERTIES,
        "traits": JSON,
        "context": JSON,
        "groupId": JSON,
        "previousId": JSON,
        "timestamp": TIMES,
        "originalTimestamp": TIMES,
        "sentAt": TIMES,
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(EVENTS | JSON, min_size=1, max_size=8), single=EVENTS, asked=JSON)
def test_no_json_at_all_is_our_fault(service: Service, events: list[Any], single: dict[str, Any], asked: Any) -> None:
    answer = batch(service, *events)
    assert len(answer["results"]) == len(events)
    for path, body in ((f"/v1/{single['type'] or 'track'}", single), ("/v1/batch", asked), ("/v1/decisions", asked)):
        reply = service.post(path, body)
        assert reply.status_code in (200, 400, 404, 413), reply.text
        if reply.status_code != 200:
            assert reply.headers["content-type"] == "application/problem+json"


def test_the_worker_has_survived_all_of_it(service: Service) -> None:
    """Whatever was acknowledged above has gone through the features and into the archive."""
    assert "worker ended" not in service.said()
    began = time.time()
    token = service.track("survivor", "Product Viewed", product_id=shop.OFFERS[0])
    seen = service.decide("survivor", after=token)["features_as_of"]
    assert datetime.fromisoformat(seen).timestamp() >= began - 60
    assert service.features("survivor")["customer__product_viewed__count_1d"] == 1.0
    with service.connect() as client:
        assert {letter.source for _, letter in dead_letters.scan(client)} <= {"intake"}
