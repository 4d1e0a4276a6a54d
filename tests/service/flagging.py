"""A shop with flags of every kind, published on the running service that all tests share, and taken back."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from service.catalog import versions
from tests.service import shop
from tests.service.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.running import Service

FLAGS = "/ofrep/v1/evaluate/flags"
GOLD = "traits.plan == 'gold'"
VIEWED = "features.customer__product_viewed__count_1d >= 2.0"
PLAIN: list[dict[str, Any]] = [
    {"id": "switch", "variants": {"on": True, "off": False}, "default": "on"},
    {
        "id": "greeting",
        "variants": {"plain": "Hello", "gold": "Welcome back"},
        "default": "plain",
        "rules": [{"when": GOLD, "variant": "gold"}],
    },
    {
        "id": "rows",
        "variants": {"few": 3, "many": 9},
        "default": "few",
        "rules": [{"when": VIEWED, "variant": "many"}],
    },
    {"id": "ratio", "variants": {"half": 0.5, "whole": 1.0}, "default": "whole"},
    {"id": "theme", "variants": {"dark": {"ink": "#fff", "sizes": [1, 2]}}, "default": "dark"},
    {"id": "killed", "enabled": False, "variants": {"on": True}, "default": "on"},
    {"id": "odd/näme", "variants": {"on": True}, "default": "on"},
]
COLOURS = {"red": "#f00", "blue": "#00f"}
SPLIT: dict[str, Any] = {
    "id": "colour",
    "status": "running",
    "variants": [{"id": name, "value": value} for name, value in COLOURS.items()],
}
VISITORS = SPLIT | {"id": "visitors", "unit": "anonymous"}
DRAFT = SPLIT | {"id": "later", "status": "draft"}
ROLLED = SPLIT | {"id": "decided", "status": "rolled_out", "rolled_out": "blue"}


def catalog(**changed: Any) -> dict[str, Any]:
    document = copy.deepcopy(shop.CATALOG)
    document["experiments"] += [SPLIT, VISITORS, DRAFT, ROLLED]
    return document | {"flags": PLAIN} | changed


def put(service: Service, document: dict[str, Any]) -> str:
    """Publish, and wait until every process answers by it."""
    body = json.dumps(document).encode()
    reply = service.http.put("/v1/catalog", content=body, headers={"If-Match": "*"})
    assert reply.status_code == 200, reply.text
    version: str = reply.json()["version"]
    service.everywhere(lambda ready: bool(ready["catalog_version"] == version))
    return version


@contextlib.contextmanager
def put_back(service: Service) -> Iterator[None]:
    """Whatever is published within, the catalog from before is live afterwards, and noted in the history."""
    text, before = service.home.catalog.read_text(), service.get("/ready").json()["catalog_version"]
    yield
    service.home.catalog.write_text(text)
    service.everywhere(lambda ready: bool(ready["catalog_version"] == before))
    wait_until(lambda: versions.history(service.home)[-1].version == before)


@pytest.fixture(scope="module")
def flagged(service: Service) -> Iterator[Service]:
    with put_back(service):
        put(service, catalog())
        yield service


def given(service: Service, customer: str, **context: Any) -> dict[str, Any]:
    reply = service.post(FLAGS, {"context": {"targetingKey": customer, **context}})
    assert reply.status_code == 200, reply.text
    return {flag["key"]: flag for flag in reply.json()["flags"]}
