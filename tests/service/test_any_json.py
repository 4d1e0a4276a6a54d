"""Whatever bytes come in: never an error of ours, and the pipeline goes on."""

from __future__ import annotations

import gzip
import itertools
import json
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.exceptions import ClientException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from features.events.schema import decode
from service.bodies import DEEPEST, inflate, read
from service.events import normalise
from service.nesting import is_deeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.service.running import Service

KINDS = ("track", "identify", "page", "screen", "group", "alias")
SINGLE = [f"/v1/{path}" for kind in KINDS for path in (kind, kind[0])]
BATCH = ["/v1/batch", "/v1/b", "/v1/import"]
EVERY = [*SINGLE, *BATCH, "/v1/decisions"]
MOST = 512_000
BOMB = gzip.compress(bytes(100_000_000))
NUMBERS = itertools.count()
HURRIED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def _the_pipeline_goes_on(service: Service) -> Iterator[None]:
    """After each test, whatever it sent, the next good event is in the next decision."""
    yield
    customer = f"onwards-{next(NUMBERS)}"
    service.decide(customer, after=service.track(customer, "Product Viewed", product_id="o-1"))
    assert service.features(customer)["customer__product_viewed__count_1d"] == 1.0
    assert "worker ended" not in service.said()


def send(service: Service, path: str, raw: bytes, **headers: str) -> httpx.Response:
    """The reply, which is an answer or names what is wrong."""
    reply = service.post(path, raw, {name.replace("_", "-"): value for name, value in headers.items()})
    assert reply.status_code in (200, 400, 404, 413, 415), (raw[:200], reply.text)
    if reply.status_code != 200:
        assert reply.headers["content-type"] == "application/problem+json"
        assert len(reply.content) < 2_000
    return reply


def around(inner: bytes) -> dict[str, bytes]:
    """Path -> a body in which `inner` stands as a property of an event that is good but for that."""
    event = b'{"type": "track", "userId": "any", "event": "Searched", "properties": {"x": %s}}' % inner
    ours = b'{"customer_id": "any", "placements": [{"id": "calm"}], "events": [%s], "context": {"x": %s}}'
    return {
        "/v1/track": event,
        "/v1/identify": b'{"anonymousId": "any", "traits": {"x": %s}, "context": {"x": %s}}' % (inner, inner),
        "/v1/batch": b'{"batch": [%s], "context": {"x": %s}}' % (event, inner),
        "/v1/decisions": ours % (event, inner),
    }


# Texts with halves of characters too, as JavaScript cuts them, and numbers that are none.
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=20)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from([10**400, 1e308, -0.0]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
NAMES = [
    *("userId", "anonymousId", "messageId", "event", "name", "properties", "traits", "context", "groupId"),
    *("previousId", "timestamp", "originalTimestamp", "sentAt", "integrations", "writeKey", "type", "batch"),
]
EVENTS = st.dictionaries(st.sampled_from(NAMES), JSON | st.sampled_from([*KINDS, "Product Viewed", {}]), max_size=8)
DECISIONS = st.fixed_dictionaries(
    {"customer_id": st.just("any") | JSON, "placements": st.just([{"id": "calm"}]) | JSON},
    optional={"events": st.lists(EVENTS | JSON, max_size=3), "context": JSON, "flags": JSON, "after": JSON}
    | {"anonymous_id": JSON, "decision_id": JSON, "deadline_ms": JSON, "explain": JSON},
)
SPOILED = st.tuples(JSON.map(json.dumps).map(str.encode), st.binary(max_size=4), st.integers(0, 60)).map(
    lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] :]
)


@HURRIED
@given(path=st.sampled_from(SINGLE), event=EVENTS | JSON, events=st.lists(EVENTS | JSON, max_size=5), shared=EVENTS)
def test_any_json_is_answered(service: Service, path: str, event: Any, events: list[Any], shared: Any) -> None:
    send(service, path, json.dumps(event).encode())
    reply = send(service, BATCH[0], json.dumps(shared | {"batch": events}).encode())
    if reply.status_code == 200:
        assert len(reply.json()["results"]) == len(events)
    good = {"type": "track", "userId": "any", "event": "Searched"}
    reply = send(service, BATCH[0], json.dumps({"batch": [good, *events, good]}).encode())
    assert [reply.json()["results"][at]["status"] for at in (0, -1)] == ["accepted"] * 2


@HURRIED
@given(asked=DECISIONS)
def test_any_json_in_a_decision_is_answered(service: Service, asked: Any) -> None:
    send(service, "/v1/decisions", json.dumps(asked).encode())


@HURRIED
@given(path=st.sampled_from(EVERY), raw=SPOILED | st.binary(max_size=40), zipped=st.booleans())
def test_any_bytes_are_answered(service: Service, path: str, raw: bytes, zipped: bool) -> None:
    send(service, path, raw)
    send(service, path, gzip.compress(raw) if zipped else raw, content_encoding="gzip")
    for body in around(raw).items():
        send(service, *body)


@pytest.mark.parametrize("levels", [DEEPEST, 900, 5_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b"[", b"")])
def test_deep_nesting_is_refused(service: Service, levels: int, opening: bytes, closing: bytes) -> None:
    for path, body in around(opening * levels + b"1" + closing * levels).items():
        assert send(service, path, body).status_code in (400, 413)


def test_an_event_that_is_nested_too_deep_keeps_no_other_from_being_taken(service: Service) -> None:
    good = {"type": "track", "userId": "nested", "event": "Searched"}
    deepest: Any = {}
    for _ in range(normalise.DEEPEST - 3):  # below the event and its properties
        deepest = {"a": deepest}
    events = [good, good | {"properties": {"x": deepest}}, good | {"properties": {"x": [deepest]}}, good]
    results = service.post("/v1/batch", {"batch": events}).json()["results"]
    assert [result["status"] for result in results] == ["accepted", "accepted", "rejected", "accepted"]
    assert "64 deep" in results[2]["reason"]
    assert service.post("/v1/track", events[2]).status_code == 400


@pytest.mark.parametrize("path", EVERY)
def test_long_texts_are_refused(service: Service, path: str) -> None:
    for text in ("x" * 1_000_000, "ü" * 500_000, "\\u0000" * 200_000):
        raw = b'{"userId": "long", "event": "%s"}' % text.encode()
        assert send(service, path, raw).status_code == 413
        assert send(service, path, gzip.compress(raw), content_encoding="gzip").status_code == 413


@pytest.mark.parametrize("path", EVERY)
def test_a_bomb_is_refused(service: Service, path: str) -> None:
    assert send(service, path, BOMB, content_encoding="gzip").status_code == 413


def test_a_bomb_is_never_inflated_whole() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RequestEntityTooLarge):
            inflate(BOMB, MOST)
        assert tracemalloc.get_traced_memory()[1] < 3 * MOST
    finally:
        tracemalloc.stop()


def test_gzip_is_inflated_up_to_the_limit_and_not_a_byte_further() -> None:
    for size in (0, 1, MOST - 1, MOST):
        assert len(inflate(gzip.compress(bytes(size)), MOST)) == size
    with pytest.raises(RequestEntityTooLarge):
        inflate(gzip.compress(bytes(MOST + 1)), MOST)
    halves = gzip.compress(b"a" * 300_000) + gzip.compress(b"b" * 200_000)
    assert inflate(halves + bytes(7), MOST) == b"a" * 300_000 + b"b" * 200_000
    with pytest.raises(RequestEntityTooLarge):
        inflate(halves + gzip.compress(bytes(12_001)), MOST)
    for broken in (b"", b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"x", zlib.compress(b"{}")):
        with pytest.raises(ClientException):
            inflate(broken, MOST)
    with pytest.raises(ClientException, match="members"):
        inflate(gzip.compress(b"") * 10_000, MOST)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "aws-chunked"])
def test_other_encodings_are_refused(service: Service, encoding: str) -> None:
    assert send(service, "/v1/track", b"{}", content_encoding=encoding).status_code == 415


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"NaN", None),
        (b"[Infinity, -Infinity, 1e999, -1e999, 1.5]", [None, None, None, None, 1.5]),
        (b"1" * 5_000, None),
        (b'"caf\xe9"', "caf\ufffd"),
        (b'"\xed\xa0\xbd"', "\ufffd\ufffd\ufffd"),
        (b'"half of it \\ud83d"', "half of it \ufffd"),
        (b'{"\\ude00": "\\ud83d\\ude00"}', {"\ufffd": "😀"}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": NaN, "a": 2}', {"a": 2}),
    ],
)
def test_what_clients_get_wrong_is_put_right(service: Service, written: bytes, meant: Any) -> None:
    customer = f"mend-{next(NUMBERS)}"
    event = b'{"type": "track", "userId": "%s", "event": "Searched", "properties": {"x": %s}}'
    raw = b'{"batch": [%s]}' % (event % (customer.encode(), written))
    assert send(service, "/v1/batch", raw).json()["results"] == [{"status": "accepted"}]
    assert send(service, "/v1/track", event % (customer.encode(), written)).status_code == 200
    for _, payload in service.archived(customer):
        assert msgspec.to_builtins(decode(payload))["properties"] == {"x": meant}
    assert send(service, "/v1/decisions", around(written)["/v1/decisions"]).status_code == 200


@pytest.mark.parametrize(
    "raw", [b"", b" ", b"{", b"{} {}", b"nul", b'{"userId": 1', b"userId=1&event=x", b"\xff\xfe{}"]
)
def test_what_is_no_json_is_refused(service: Service, raw: bytes) -> None:
    for path in ("/v1/track", "/v1/batch", "/v1/decisions"):
        for headers in ({}, {"content_type": "text/plain"}, {"content_type": "application/x-www-form-urlencoded"}):
            assert send(service, path, raw, **headers).status_code == 400


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "customer",
    [
        "a:b:c",
        "a/b/../c",
        "😀🏽‍🚀",
        "{0}",
        "%s%00",
        "a\nb\r\n",
        "\0",
        " ",
        "\u202egnp",
        "e\u0301",
        "*",
        "$.x[0]",
        "x" * 256,
    ],
)
def test_ids_of_any_characters_are_taken(service: Service, customer: str) -> None:
    event = {"type": "track", "event": "Product Viewed", "messageId": f"m {customer}"[:256], "userId": customer}
    token = service.post("/v1/batch", {"batch": [event | {"properties": {"product_id": customer}}]}).json()["token"]
    assert service.decide(customer, after=token, events=[event | {"messageId": None}])["rung"] == "model"
    assert service.features(customer)["customer__product_viewed__count_1d"] >= 1.0
    assert len(service.archived(customer)) == 3


@pytest.mark.parametrize("name", ["userId", "anonymousId", "messageId", "groupId", "previousId"])
def test_ids_that_are_too_long_are_refused(service: Service, name: str) -> None:
    kind = {"groupId": "group", "previousId": "alias"}.get(name, "track")
    event = {"type": kind, "userId": "long-id", "event": "Searched", name: "😀" * 10_000}
    refused = service.post(f"/v1/{kind}", event)
    assert (refused.status_code, refused.json()["field"]) == (400, name)
    (result,) = service.post("/v1/batch", {"batch": [event]}).json()["results"]
    assert result["status"] == "rejected"
    assert result["reason"].startswith(name)


@given(document=JSON)
def test_depth_is_that_of_the_deepest_part(document: Any) -> None:
    def depth(value: Any) -> int:
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inside is None else 1 + max(map(depth, inside), default=0)

    assert not is_deeper(document, depth(document))
    assert depth(document) == 0 or is_deeper(document, depth(document) - 1)
