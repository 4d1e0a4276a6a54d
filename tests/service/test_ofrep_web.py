"""The unmodified official web provider over OFREP of a running service: in Node, and in a browser if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.service import page
from tests.service.flagging import COLOURS, PLAIN, SPLIT, catalog, flagged, put
from tests.service.segment_node import install

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.service.running import Service

    Opened = Callable[[dict[str, Any]], AbstractContextManager[page.Steps]]

__all__ = ["flagged"]  # a fixture
CALLS: list[tuple[str, str, Any]] = [
    ("Boolean", "switch", False),
    ("Number", "rows", 1),
    ("Object", "theme", {}),
    ("String", "greeting", ""),
    ("String", "colour", ""),
    ("Boolean", "killed", True),
    ("Boolean", "nothing", True),
]
missing = install.missing("ofrep_web")
PAGES = [
    pytest.param(page.in_node, marks=pytest.mark.skipif(bool(missing), reason=str(missing)), id="node"),
    pytest.param(
        page.in_browser,
        marks=pytest.mark.skipif(bool(missing) or page.browser() is None, reason=missing or "no browser is on PATH"),
        id="browser",
    ),
]


def order(service: Service, **later: Any) -> dict[str, Any]:
    return {
        "baseUrl": str(service.http.base_url).replace("127.0.0.1", "localhost"),
        "headers": [["X-API-Key", "any"]],
        "calls": CALLS,
        "context": {"targetingKey": "page-1", "traits": {"plan": "gold"}},
        "later": later,
    }


def details(step: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {call[1]: told for call, told in zip(CALLS, step["details"], strict=True)}


@pytest.mark.parametrize("opened", PAGES)
def test_the_official_web_provider_evaluates_flags_and_follows_their_changes(flagged: Service, opened: Opened) -> None:
    with opened(order(flagged, basket=3)) as steps:
        started = steps.get(timeout=page.PATIENCE)
        got = details(started)
        assert [one["status"] for one in started["asked"]] == [200]
        assert (got["switch"]["value"], got["switch"]["reason"], got["switch"]["variant"]) == (True, "STATIC", "on")
        assert (got["rows"]["value"], got["theme"]["value"]) == (3, {"ink": "#fff", "sizes": [1, 2]})
        assert (got["greeting"]["value"], got["greeting"]["reason"]) == ("Welcome back", "TARGETING_MATCH")
        assert got["colour"]["value"] == COLOURS[got["colour"]["variant"]]
        assert got["colour"]["flagMetadata"]["experiment"] == "colour"
        assert (got["killed"]["value"], got["killed"]["reason"]) == (True, "DISABLED")
        assert (got["nothing"]["value"], got["nothing"]["errorCode"]) == (True, "FLAG_NOT_FOUND")

        context = steps.get(timeout=page.PATIENCE)
        assert [one["status"] for one in context["asked"]] == [304]
        assert context["asked"][0]["known"]

        document = catalog(flags=[{**PLAIN[0], "enabled": False}, *PLAIN[1:]])
        document["experiments"][-4] = SPLIT | {"status": "stopped"}
        put(flagged, document)
        changed = steps.get(timeout=page.PATIENCE)
        assert sorted(changed["step"]["changed"]) == ["colour", "switch"]
        assert [one["status"] for one in changed["asked"]] == [200]
        assert changed["asked"][0]["search"]["flagConfigEtag"]
        now = details(changed)
        assert (now["switch"]["value"], now["switch"]["reason"]) == (False, "DISABLED")
        assert (now["colour"]["value"], now["colour"]["reason"]) == ("", "DISABLED")

        put(flagged, catalog())
        again = details(steps.get(timeout=page.PATIENCE))
        assert (again["switch"]["value"], again["colour"]["value"]) == (True, got["colour"]["value"])
