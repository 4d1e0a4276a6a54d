"""GET /v1/experiments/{id}/report, by the whole application on a real Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow.parquet as pq
import pytest
from litestar.testing import TestClient

from service.app import create
from service.experiments.reports import api
from tests.service.experimenting import START, catalog, meet, shop, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar import Litestar

    from features.settings import Settings


@pytest.fixture
def client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient[Litestar]]:
    said = catalog(analysis={"metrics": [{"id": "clicks", "event": "Promotion Clicked"}]})
    settings.home.catalog.write_bytes(msgspec.yaml.encode(said))
    monkeypatch.setattr(api, "FRESH_SECONDS", 0.0)
    known = msgspec.structs.replace(settings, admin_keys=("secret",))
    with TestClient(create(known, settings.redis_url or "")) as opened:
        opened.headers["Authorization"] = "Bearer secret"
        yield opened


def test_a_report_is_answered_and_grows_with_the_archive(client: TestClient[Litestar], settings: Settings) -> None:
    write(settings.home, shop(customers=150))
    first = client.get("/v1/experiments/hero-test/report")
    assert first.status_code == 200, first.text
    assert first.json()["units"] == 150
    assert first.json()["verdict"]["assumptions"]
    assert [arm["id"] for arm in first.json()["arms"]] == ["plain", "bold"]
    write(settings.home, [*meet(9000, "another", START + 40 * 86_400_000_000, "bold")])
    assert client.get("/v1/experiments/hero-test/report").json()["units"] == 151


def test_an_unknown_experiment_and_a_stranger_are_refused(client: TestClient[Litestar], settings: Settings) -> None:
    unknown = client.get("/v1/experiments/no-such/report")
    assert (unknown.status_code, unknown.json()["field"]) == (404, "id")
    stranger = client.get("/v1/experiments/hero-test/report", headers={"Authorization": "Bearer other"})
    assert stranger.status_code == 401
    assert not (settings.home.root / "experiments").exists()


def test_an_archive_of_a_newer_version_is_said(client: TestClient[Litestar], settings: Settings) -> None:
    write(settings.home, shop(customers=5))
    for path in settings.home.events.rglob("*.parquet"):
        pq.write_table(pq.read_table(path).replace_schema_metadata({"kairos.archive": "99"}), path)
    answer = client.get("/v1/experiments/hero-test/report")
    assert answer.status_code == 503
    assert "has version 99" in answer.json()["detail"]
    assert answer.headers["Retry-After"]


def test_a_report_that_takes_too_long_is_said_and_goes_on_the_next_time(
    client: TestClient[Litestar], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(settings.home, shop(customers=50))
    with monkeypatch.context() as hurried:
        hurried.setattr(api, "MOST_SECONDS", 0.001)
        answer = client.get("/v1/experiments/hero-test/report")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "ask again" in answer.json()["detail"]
    assert client.get("/v1/experiments/hero-test/report").json()["units"] == 50
