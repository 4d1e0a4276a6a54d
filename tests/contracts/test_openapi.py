"""The API's own description: valid, complete, and moved only on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

from features.settings import Settings
from service.app import create
from service.catalog import starter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.home import Home

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi.json"


@pytest.fixture
def description(home: Home) -> dict[str, Any]:
    starter.ensure(home)
    app = create(Settings(home=home), "redis://127.0.0.1:1/0")  # nothing is asked of Redis before the start
    described: dict[str, Any] = json.loads(json.dumps(app.openapi_schema.to_schema()))
    return described


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def shape(content: dict[str, Any]) -> dict[str, str]:
    """Media type -> name of the schema."""
    return {
        media: body["schema"].get("$ref", body["schema"].get("type", "")).rpartition("/")[2]
        for media, body in content.items()
    }


def test_it_is_openapi_3_1_and_everything_in_it_resolves(description: dict[str, Any]) -> None:
    assert description["openapi"] == "3.1.0"
    assert description["info"]["title"] == "Kairos"
    schemas = description["components"]["schemas"]
    for reference in references(description):
        place, _, name = reference.rpartition("/")
        assert place == "#/components/schemas"
        assert name in schemas
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [operation["operationId"] for _, operation in operations(description)]
    assert len(names) == len(set(names))


def test_paths_bodies_and_answers_are_those_that_were_agreed(description: dict[str, Any]) -> None:
    """To change them on purpose, delete the golden file and run this test twice."""
    found = {
        name: {
            "body": shape(operation.get("requestBody", {}).get("content", {})),
            "answers": {status: shape(answer.get("content", {})) for status, answer in operation["responses"].items()},
        }
        for name, operation in operations(description)
    }
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
        pytest.fail(f"{GOLDEN.name} was missing and is written")
    assert found == json.loads(GOLDEN.read_text())


def test_requests_of_the_documentation_fit_their_schemas(description: dict[str, Any]) -> None:
    decision = {
        "customer_id": "c-42",
        "anonymous_id": "a-9",
        "placements": [{"id": "home-hero", "limit": 1}, {"id": "home-grid", "limit": 6, "candidates": ["o-1", "o-2"]}],
        "context": {"page": {"path": "/"}, "device": "mobile", "locale": "en-GB"},
        "events": [{"type": "track", "event": "Product Viewed", "properties": {"product_id": "o-7"}}],
        "flags": {"hero-test": "bold"},
        "deadline_ms": 50,
        "explain": False,
    }
    event = {"userId": "c-42", "event": "Promotion Viewed", "properties": {"promotion_id": "o-1", "position": 1}}
    batch = {"batch": [event | {"type": "track"}], "context": {"locale": "de-DE"}, "sentAt": "2026-11-23T08:00:00Z"}
    for body, schema in ((decision, "DecisionRequest"), (event, "EventRequest"), (batch, "BatchRequest")):
        wanted = {"$ref": f"#/components/schemas/{schema}", "components": description["components"]}
        jsonschema.Draft202012Validator(wanted).validate(body)
    wrong = {"$ref": "#/components/schemas/DecisionRequest", "components": description["components"]}
    wrongly: list[dict[str, Any]] = [{"placements": []}, {"deadline_ms": 0}, {"context": []}, {"colour": 1}]
    for bad in ({}, *(decision | one for one in wrongly)):
        assert not jsonschema.Draft202012Validator(wrong).is_valid(bad)
