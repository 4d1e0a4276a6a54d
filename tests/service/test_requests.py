"""Requests that cannot be answered: problem+json that names the field."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

if TYPE_CHECKING:
    from tests.service.running import Service

GOOD: dict[str, Any] = {"customer_id": "c-1", "placements": [{"id": "calm"}]}
WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"customer_id": None}, 400, "customer_id"),
    ({"customer_id": ""}, 400, "customer_id"),
    ({"customer_id": 7}, 400, "customer_id"),
    ({"customer_id": "x" * 257}, 400, "customer_id"),
    ({"placements": []}, 400, "placements"),
    ({"placements": "calm"}, 400, "placements"),
    ({"placements": [{"id": "calm"}, {"id": "nowhere"}]}, 404, "placements[1].id"),
    ({"placements": [{"id": "calm"}, {"id": "calm"}]}, 400, "placements"),
    ({"placements": [{"limit": 1}]}, 400, "placements[0].id"),
    ({"placements": [{"id": "calm", "limit": 0}]}, 400, "placements[0].limit"),
    ({"placements": [{"id": "calm", "limit": 1.5}]}, 400, "placements[0].limit"),
    ({"placements": [{"id": "calm", "candidates": []}]}, 400, "placements[0].candidates"),
    ({"placements": [{"id": "calm", "candidates": [3]}]}, 400, "placements[0].candidates[0]"),
    ({"placements": [{"id": "calm", "colour": "red"}]}, 400, "placements[0].colour"),
    ({"colour": "red"}, 400, "colour"),
    ({"context": [1]}, 400, "context"),
    ({"events": [{"event": "x"}, {"type": "tack", "event": "x"}]}, 400, "events[1].type"),
    ({"events": [{"event": ""}]}, 400, "events[0].event"),
    ({"events": [{"properties": 3}]}, 400, "events[0].properties"),
    ({"decision_id": ""}, 400, "decision_id"),
    ({"decision_id": "d" * 257}, 400, "decision_id"),
    ({"flags": {"hook": "usual"}}, 400, "flags.hook"),
    ({"flags": {"look": "bold"}}, 400, "flags.look"),
    ({"flags": {"look": 1}}, 400, "flags[...]"),
    ({"after": "yesterday"}, 400, "after"),
    ({"after": "0-12,zz"}, 400, "after"),
    ({"after": "99-12"}, 400, "after"),
    ({"deadline_ms": 0}, 400, "deadline_ms"),
    ({"deadline_ms": "soon"}, 400, "deadline_ms"),
    ({"explain": "yes"}, 400, "explain"),
]


@pytest.mark.parametrize(("changed", "status", "field"), WRONG, ids=[f"{f}={str(c)[:50]}" for c, _, f in WRONG])
def test_a_wrong_request_is_refused_by_naming_the_field(
    service: Service, changed: dict[str, Any], status: int, field: str
) -> None:
    body = {name: value for name, value in (GOOD | changed).items() if value is not None}
    reply = service.post("/v1/decisions", body)
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert (reply.status_code, problem["status"], problem.get("field")) == (status, status, field)
    assert problem["title"]
    assert problem["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"customer_id": "c"', b"[]", b"null", b"\xff\xfe", b'"text"', b"nan"])
def test_a_body_that_is_no_request_at_all_is_refused(service: Service, body: bytes) -> None:
    for path in ("/v1/decisions", "/v1/track", "/v1/batch"):
        reply = service.post(path, body)
        assert reply.status_code == 400, (path, reply.text)
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["detail"]
        assert "field" not in reply.json()


def test_a_body_that_is_too_large_is_refused(service: Service) -> None:
    for path in ("/v1/decisions", "/v1/track", "/v1/batch"):
        reply = service.post(path, GOOD | {"context": {"page": "x" * 600_000}})
        assert reply.status_code == 413
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["title"] == "The body is too large"


def test_unknown_paths_and_wrong_methods_are_problems_too(service: Service) -> None:
    for reply, status in ((service.get("/v2/decisions"), 404), (service.get("/v1/decisions"), 405)):
        assert (reply.status_code, reply.json()["status"]) == (status, status)
        assert reply.headers["content-type"] == "application/problem+json"


def test_a_request_is_answered_alike_however_its_body_comes(service: Service) -> None:
    body = msgspec.json.encode(GOOD | {"customer_id": "bodies-1"})
    parts = [body[:10], body[10:30], body[30:]]
    ways: list[tuple[Any, dict[str, str]]] = [
        (body, {"Content-Type": "application/json"}),
        (body, {"Content-Type": "application/json; charset=utf-8"}),
        (body, {"Content-Type": "text/plain"}),
        (iter(parts), {"Content-Type": "application/json"}),
        (gzip.compress(body), {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
        (body.replace(b"{", b'{"context":{"load":NaN},', 1), {"Content-Type": "application/json"}),
    ]
    answers = []
    for content, headers in ways:
        reply = service.http.post("/v1/decisions", content=content, headers=headers)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"] == "application/json"
        answers.append(reply.json()["placements"])
    assert all(answer == answers[0] for answer in answers)
