"""The unmodified official OpenFeature providers, Python's and Node's, over OFREP of a running service."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from openfeature import api as openfeature
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from tests.service.flagging import COLOURS, flagged
from tests.service.segment_node import install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openfeature.client import OpenFeatureClient

    from tests.service.running import Service

__all__ = ["flagged"]  # a fixture
SCRIPT = Path(__file__).parent / "ofrep_node" / "evaluate.cjs"


@pytest.fixture
def client(flagged: Service) -> Iterator[OpenFeatureClient]:
    """Python's official SDK with the official provider."""
    provider = OFREPProvider(str(flagged.http.base_url))
    openfeature.set_provider(provider)
    yield openfeature.get_client()
    openfeature.shutdown()
    provider.session.close()


def test_pythons_official_provider_evaluates_every_type(client: OpenFeatureClient) -> None:
    who = EvaluationContext("python-1", {"traits": {"plan": "gold"}})
    assert client.get_boolean_value("switch", False, who) is True
    assert client.get_integer_value("rows", 1, who) == 3
    assert client.get_float_value("ratio", 0.1, who) == 1.0
    assert client.get_object_value("theme", {}, who) == {"ink": "#fff", "sizes": [1, 2]}
    greeting = client.get_string_details("greeting", "", who)
    assert (greeting.value, greeting.variant, greeting.reason) == ("Welcome back", "gold", "TARGETING_MATCH")
    colour = client.get_string_details("colour", "", who)
    assert (colour.reason, COLOURS[colour.variant or ""]) == ("SPLIT", colour.value)
    assert colour.flag_metadata["experiment"] == "colour"
    killed = client.get_boolean_details("killed", True, who)
    assert (killed.value, killed.reason, killed.error_code) == (True, "DISABLED", None)


def test_pythons_official_provider_understands_refusals(client: OpenFeatureClient) -> None:
    unknown = client.get_boolean_details("nothing", True, EvaluationContext("python-1"))
    assert (unknown.value, str(unknown.error_code)) == (True, "FLAG_NOT_FOUND")
    nobody = client.get_boolean_details("switch", False, EvaluationContext(attributes={"a": 1}))
    assert (nobody.value, str(nobody.error_code)) == (False, "TARGETING_KEY_MISSING")
    other = client.get_string_details("switch", "x", EvaluationContext("python-1"))
    assert (other.value, str(other.error_code)) == ("x", "TYPE_MISMATCH")


@pytest.mark.skipif(bool(install.missing("ofrep_node")), reason=str(install.missing("ofrep_node")))
def test_nodes_official_provider_evaluates_every_type_and_understands_refusals(flagged: Service) -> None:
    who = {"targetingKey": "node-1", "traits": {"plan": "gold"}}
    order = {
        "baseUrl": str(flagged.http.base_url),
        "headers": [],
        "calls": [
            ["Boolean", "switch", False, who],
            ["Number", "rows", 1, who],
            ["Object", "theme", {}, who],
            ["String", "greeting", "", who],
            ["String", "colour", "", who],
            ["Boolean", "nothing", True, who],
            ["Boolean", "switch", False, {}],
        ],
    }
    program, _ = install.programs()[0]
    modules = {"NODE_PATH": str(install.folder_of("ofrep_node") / "node_modules")}
    answer = subprocess.run(
        [program, SCRIPT, json.dumps(order)], capture_output=True, text=True, check=False, env=modules, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
    switch, rows, theme, greeting, colour, unknown, nobody = json.loads(answer.stdout)
    assert (switch["value"], rows["value"], theme["value"]) == (True, 3, {"ink": "#fff", "sizes": [1, 2]})
    assert (greeting["value"], greeting["reason"], greeting["variant"]) == ("Welcome back", "TARGETING_MATCH", "gold")
    assert (colour["value"], colour["reason"]) == (COLOURS[colour["variant"]], "SPLIT")
    assert colour["flagMetadata"]["experiment"] == "colour"
    assert (unknown["value"], unknown["errorCode"]) == (True, "FLAG_NOT_FOUND")
    assert (nobody["value"], nobody["errorCode"]) == (False, "TARGETING_KEY_MISSING")
