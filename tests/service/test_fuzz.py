"""Whatever fits the API's own description, and what does not, is answered as described: never with an error of ours."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.test_any_json import JSON, send

if TYPE_CHECKING:
    from tests.service.running import Service

EXAMPLES = 10
SAME = {*(f"/v1/{path}" for path in ("t", "i", "p", "s", "g", "a", "b", "import"))}
"""Other names of what stands under a longer one."""
FEW = {"DELETE /v1/customers/{id}": 2}
"""Examples of what waits for the archive each time."""
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
LENIENT = settings(
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_requests_are_answered_as_described(service: Service, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(service.get("/schema/openapi.json").json())
    before, tried = service.get("/ready").json()["catalog_version"], set()
    with requests.Session() as session:
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            if operation.path in SAME or (mode is GenerationMode.NEGATIVE and not operation.body):
                continue  # any text fits a path

            @settings(LENIENT, max_examples=FEW.get(operation.label, EXAMPLES))
            @given(case=operation.as_strategy(generation_mode=mode))
            def attempt(case: Any) -> None:
                answer = case.call(base_url=str(service.http.base_url).rstrip("/"), session=session)
                assert answer.status_code < 500, (case.as_curl_command(), answer.text)
                case.validate_response(answer, checks=CHECKS)

            attempt()
            tried.add(operation.label)
    assert {"POST /v1/decisions", "POST /v1/track"} <= tried
    assert service.get("/ready").json()["catalog_version"] == before


PLACEMENT = st.fixed_dictionaries(
    {"id": st.sampled_from(["calm", "grid", "pair"]) | JSON}, optional={"limit": JSON, "candidates": JSON, "x": JSON}
)
REQUEST: dict[str, st.SearchStrategy[Any]] = {
    "customer_id": JSON,
    "anonymous_id": JSON,
    "placements": st.lists(PLACEMENT | JSON, max_size=3) | JSON,
    "context": st.dictionaries(
        st.sampled_from(["device", "timezone", "locale", "traits", "segments", "page", "referrer"]), JSON, max_size=4
    )
    | JSON,
    "events": st.lists(
        st.fixed_dictionaries({"event": JSON, "properties": JSON, "timestamp": JSON}) | JSON, max_size=2
    ),
    "decision_id": JSON,
    "flags": st.dictionaries(st.sampled_from(["look", "grid-only", "x"]), JSON, max_size=2) | JSON,
    "after": JSON | st.sampled_from(["0-1", "9-1", "0-", "-", "0-1,1-1"]),
    "deadline_ms": JSON | st.integers(0, 20),
    "explain": JSON,
    "unknown": JSON,
}
GOOD = {"customer_id": "fuzzed", "placements": [{"id": "grid"}], "deadline_ms": 50, "explain": True}


@pytest.mark.parametrize("field", REQUEST)
def test_any_value_in_any_field_of_a_decision_is_answered(service: Service, field: str) -> None:
    """Each field by itself in a request that is good but for it, so that what it leads to is reached."""

    @settings(LENIENT, max_examples=20)
    @given(value=REQUEST[field])
    def attempt(value: Any) -> None:
        send(service, "/v1/decisions", json.dumps(GOOD | {field: value}).encode())

    attempt()


@functools.cache
def _all_fields() -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=REQUEST)


def test_any_values_in_all_fields_of_a_decision_are_answered(service: Service) -> None:
    @settings(LENIENT, max_examples=40)
    @given(asked=_all_fields())
    def attempt(asked: dict[str, Any]) -> None:
        send(service, "/v1/decisions", json.dumps(GOOD | asked).encode())

    attempt()
