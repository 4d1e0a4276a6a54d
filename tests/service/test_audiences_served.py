"""Audiences as the API and the command line make them, beside a service that goes on deciding."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from pyarrow import csv

from tests.service.running import PROJECT, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.running import Service


def agree(service: Service, *customers: str) -> None:
    """They look at something, and agree to be written to."""
    for customer in customers:
        service.track(customer, "Product Viewed", product_id="o-1", category="hats")
        reply = service.post(f"/v1/customers/{customer}/consent", {"marketing": True})
        assert reply.status_code == 200, reply.text
    for customer in customers:
        path = f"/v1/customers/{customer}"
        wait_until(lambda path=path: service.get(path).json()["consent"]["marketing"])  # type: ignore[misc]  # bound now


def made(service: Service, **asked: Any) -> dict[str, Any]:
    reply = service.post("/v1/audiences", {"placement": "grid", **asked})
    assert reply.status_code == 202, reply.text
    begun = reply.json()
    assert begun["status"] == "running"
    states: list[dict[str, Any]] = []

    def ended() -> bool:
        states.append(service.get(f"/v1/audiences/{begun['id']}").json())
        return bool(states[-1]["status"] != "running")

    wait_until(ended, 120)
    return states[-1]


def test_an_audience_is_made_beside_the_service(service: Service) -> None:
    agree(service, "aud-1", "aud-2")
    done = made(service, where="features.customer__product_viewed__count_1d > 0.0")
    assert (done["status"], done["error"], done["rehearsal"]) == ("done", None, False)
    assert done["given"] >= 2
    assert done["done"] == done["customers"]
    file = service.get(f"/v1/audiences/{done['id']}/file")
    assert file.status_code == 200
    found = [row for row in pq.read_table(io.BytesIO(file.content)).to_pylist() if row["customer"] == "aud-1"]
    assert [row["rank"] for row in found] == [1, 2, 3, 4]
    [decision] = service.logged("aud-1")
    assert [item.id for item in decision.placements[0].items] == [row["candidate"] for row in found]
    assert decision.decision_id == found[0]["decision_id"]
    text = made(service, format="csv", rehearse=True)
    table = csv.read_csv(io.BytesIO(service.get(f"/v1/audiences/{text['id']}/file").content))
    assert {"aud-1", "aud-2"} <= set(table["customer"].to_pylist())
    assert len(service.logged("aud-1")) == 1  # a rehearsal is not logged


def test_what_is_wrong_with_an_audience_names_the_field(service: Service) -> None:
    for body, field in (
        ({"placement": "letter"}, "placement"),
        ({"placement": "grid", "where": "features.horoscope > 1.0"}, "where"),
        ({"placement": "grid", "where": "1 +"}, "where"),
        ({"placement": "grid", "at": "soon"}, "at"),
        ({"placement": "grid", "format": "xlsx"}, "format"),
        ({"placement": "grid", "extra": 1}, "extra"),
        ({}, "placement"),
    ):
        reply = service.post("/v1/audiences", body)
        assert (reply.status_code, reply.json()["field"]) == (400, field), reply.text
    for path in ("/v1/audiences/none", "/v1/audiences/01a20a41-037b-77a0-bb92-2f2721361123/file"):
        assert service.get(path).status_code == 404


def run(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kairos", "audience", "--home", str(service.home.root), *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)


def test_the_command_writes_the_file_and_says_what_it_came_to(service: Service, tmp_path: Path) -> None:
    agree(service, "aud-3")
    out = tmp_path / "audience.csv"
    done = run(service, "--placement", "grid", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "get something" in done.stdout
    assert "reserved and logged" in done.stdout
    assert "aud-3" in set(csv.read_csv(out)["customer"].to_pylist())
    for arguments, words in (
        (("--placement", "letter", "--out", str(out)), "no placement 'letter'"),
        (("--placement", "grid", "--out", str(out), "--where", "features.horoscope > 1.0"), "no feature 'horoscope'"),
        (("--placement", "grid", "--out", str(tmp_path / "missing" / "a.csv")), "cannot be written"),
        (("--placement", "grid", "--out", str(tmp_path / "a.txt")), ".parquet or .csv"),
    ):
        refused = run(service, *arguments)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr
