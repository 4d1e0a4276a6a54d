"""A person can be shown, exported, heard and forgotten."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import urllib.parse
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from features import archive, dead_letters, stream
from features.events.schema import decode
from features.home import Home
from tests.service import running, shop
from tests.service.running import wait_until
from tests.service.test_audiences_served import agree, made

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.running import Service

VIEWS = "customer__product_viewed__count_1d"


def view(service: Service, **ids: str) -> str:
    reply = service.post("/v1/track", {"event": "Product Viewed", "properties": {"product_id": "o-7"}, **ids})
    assert reply.status_code == 200, reply.text
    token: str = reply.json()["token"]
    return token


def sign_in(service: Service, known: str, device: str) -> str:
    """Two views on a device, who it is, and one more."""
    view(service, anonymousId=device)
    view(service, anonymousId=device)
    service.post("/v1/identify", {"userId": known, "anonymousId": device, "traits": {"plan": "gold"}})
    return view(service, anonymousId=device)


def show(service: Service, customer: str) -> dict[str, Any]:
    reply = service.get(f"/v1/customers/{customer}")
    assert reply.status_code == 200, reply.text
    profile: dict[str, Any] = reply.json()
    return profile


def decide(service: Service, token: str | None = None, **ids: str) -> dict[str, Any]:
    reply = service.post("/v1/decisions", {"placements": [{"id": "calm"}], "after": token, "deadline_ms": 5000, **ids})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def allow(service: Service, customer: str, **purposes: bool) -> str:
    reply = service.post(f"/v1/customers/{customer}/consent", purposes)
    assert reply.status_code == 200, reply.text
    token: str = reply.json()["token"]
    return token


def test_a_customer_is_shown_with_all_ids_features_and_events(service: Service) -> None:
    decide(service, sign_in(service, "show-ada", "show-phone"), customer_id="show-ada")
    for name in ("show-ada", "show-phone"):
        profile = show(service, name)
        assert (profile["customer"], sorted(profile["ids"])) == ("show-ada", ["show-ada", "show-phone"])
        assert profile["first_seen_as"] == "show-phone"
        assert profile["traits"] == {"plan": "gold"}
        assert profile["features"][VIEWS] == 3.0
        assert profile["features_age_seconds"] >= 0
        assert profile["events"][0]["type"] == "decision"
        assert [event["event"] for event in profile["events"]].count("Product Viewed") == 3
        assert profile["consent"]["tracking"] == {"allowed": True, "said": None}
        assert profile["consent"]["marketing"] == {"allowed": False, "said": None}


def test_who_is_not_known_is_not_there(service: Service) -> None:
    reply = service.get("/v1/customers/nobody-at-all")
    assert (reply.status_code, reply.json()["field"]) == (404, "id")


def test_an_export_has_every_event_as_it_is_kept(service: Service) -> None:
    sign_in(service, "export-ada", "export-phone")
    reply = service.get("/v1/customers/export-phone/export")
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert lines[0]["kind"] == "profile"
    kept = [json.loads(payload) for name in ("export-ada", "export-phone") for _, payload in service.archived(name)]
    exported = [line["event"] for line in lines[1:]]
    assert sorted(map(json.dumps, exported)) == sorted(map(json.dumps, kept))


def test_without_personalisation_the_decision_uses_the_context_only_and_says_so(service: Service) -> None:
    token = sign_in(service, "quiet-ada", "quiet-phone")
    assert "personalised" not in decide(service, token, customer_id="quiet-ada")
    token = allow(service, "quiet-phone", personalisation=False)  # said under one id, it holds for the customer
    answer = decide(service, token, customer_id="quiet-ada")
    assert (answer["personalised"], answer["features_as_of"], answer["rung"]) == (False, None, "model")
    [item] = answer["placements"][0]["items"]
    [other] = decide(service, customer_id="quiet-stranger")["placements"][0]["items"]
    assert (item["id"], item["propensity"]) == (other["id"], pytest.approx(other["propensity"], rel=1e-3))
    token = allow(service, "quiet-ada", personalisation=True)
    assert "personalised" not in decide(service, token, customer_id="quiet-ada")


def test_without_tracking_events_are_counted_and_not_kept(service: Service) -> None:
    decide(service, sign_in(service, "secret-ada", "secret-phone"), customer_id="secret-ada")
    token = allow(service, "secret-ada", tracking=False)
    decide(service, token, anonymous_id="secret-nobody")
    before = untracked(service)
    for _ in range(3):
        token = view(service, userId="secret-ada")
    view(service, anonymousId="secret-phone")
    answer = decide(service, token, customer_id="secret-ada")
    profile = show(service, "secret-ada")
    assert profile["features"][VIEWS] == 3.0
    assert [event["type"] for event in profile["events"]].count("track") == 3
    assert answer["decision_id"] not in [decision.decision_id for decision in service.logged("secret-ada")]
    wait_until(lambda: untracked(service) - before == 5.0)
    allow(service, "secret-ada", tracking=True)
    decide(service, view(service, userId="secret-ada"), customer_id="secret-ada")
    assert show(service, "secret-ada")["features"][VIEWS] == 4.0


def untracked(service: Service) -> float:
    marked = 'kairos_events_total{outcome="untracked"'
    lines = service.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(marked))


@pytest.mark.parametrize("body", [{}, {"selling": True}, {"tracking": "yes"}])
def test_consent_that_cannot_be_read_is_refused(service: Service, body: dict[str, Any]) -> None:
    assert service.post("/v1/customers/any/consent", body).status_code == 400


def test_a_customer_is_forgotten_everywhere_and_stays_so_after_a_replay(service: Service) -> None:
    token = sign_in(service, "gone-ada", "gone-phone")
    decide(service, token, customer_id="gone-ada", decision_id="gone-decision")
    service.post("/v1/track", {"userId": "gone-ada", "event": ""})  # one for the dead letters
    view(service, userId="stays")
    units = service.home.root / "experiments" / "1-1.duckdb"
    units.parent.mkdir(exist_ok=True)
    units.touch()
    report = service.http.delete("/v1/customers/gone-phone").json()
    assert not units.exists()  # the next report of an experiment reads the archive again
    assert sorted(report["ids"]) == ["gone-ada", "gone-phone"]
    # Two views, who it is, what that handed over, the traits it told, a view handed on, and a decision.
    assert (report["archived_events"], report["dead_letters"], report["stored_answers"]) == (7, 1, 1)
    assert what_is_left(service, "gone-") == ([], [], [], [])
    for name in ("gone-ada", "gone-phone"):
        assert service.get(f"/v1/customers/{name}").status_code == 404
        assert service.features(name) == {}
    assert decide(service, customer_id="gone-ada")["features_as_of"] is None
    service.http.delete("/v1/customers/gone-ada")
    subprocess.run([sys.executable, "-m", "kairos", "replay", "--home", str(service.home.root)], check=True)
    assert service.features("gone-ada") == service.features("gone-phone") == {}
    assert service.features("stays")[VIEWS] == 1.0


def test_files_of_audiences_and_what_dialects_remember_are_cleaned(service: Service) -> None:
    for name in ("left-ada", "left-bert"):
        agree(service, name)
        ranked = service.post(f"/personalizer/v1.0/rank?customer={name}", {"actions": [{"id": "a"}], "eventId": name})
        assert ranked.status_code == 201
    audiences = [made(service, format=form, rehearse=True) for form in ("csv", "parquet")]
    before = [rows_of(service, one) for one in audiences]
    report = service.http.delete("/v1/customers/left-ada").json()
    assert report["dialect_ranks"] == 1
    lost = [[row for row in rows if row["customer"] == "left-ada"] for rows in before]
    assert report["audience_rows"] == sum(map(len, lost)) > 0
    for one, rows in zip(audiences, before, strict=True):
        assert rows_of(service, one) == [row for row in rows if row["customer"] != "left-ada"]
    reward = "/personalizer/v1.0/events/{}/reward"
    assert service.post(reward.format("left-ada"), {"value": 1.0}).status_code == 404
    assert service.post(reward.format("left-bert"), {"value": 1.0}).status_code == 204


def rows_of(service: Service, audience: dict[str, Any]) -> list[dict[str, Any]]:
    content = io.BytesIO(service.get(f"/v1/audiences/{audience['id']}/file").content)
    table = pq.read_table(content) if audience["format"] == "parquet" else csv.read_csv(content)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def what_is_left(service: Service, mark: str) -> tuple[list[bytes], list[Any], list[Any], list[bytes]]:
    """Everything with the text in it: in the archive, in streams but for its erasure, in dead letters and keys."""
    table = archive.read(service.home.events, ["payload"])
    archived = [payload for payload in table["payload"].to_pylist() if mark.encode() in payload]
    with service.connect() as client:
        entries: list[Any] = [entry for number in range(4) for entry in client.xrange(stream.events_key(number))]
        waiting = [entry for entry in entries if mark.encode() in entry[1][b"e"]]
        letters = [letter for _, letter in dead_letters.scan(client) if mark.encode() in letter.payload]
        keys = [key for key in client.scan_iter(count=1000) if mark.encode() in key]
    return archived, waiting, letters, keys


def test_where_the_catalog_says_so_only_those_who_agreed_are_tracked(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    shop.write_catalog(home, shop.CATALOG | {"consent": {"tracking": False, "personalisation": False}})
    service = running.start(home, workers=1)
    try:
        allow(service, "asked-ada", tracking=True, personalisation=True)
        view(service, userId="silent-bert")
        answer = decide(service, view(service, userId="asked-ada"), customer_id="asked-ada")
        assert "personalised" not in answer
        assert show(service, "asked-ada")["features"][VIEWS] == 1.0
        assert decide(service, customer_id="silent-bert")["personalised"] is False
        assert service.get("/v1/customers/silent-bert").status_code == 404
        assert service.archived("silent-bert") == []
    finally:
        running.stop(service)


def test_customers_are_not_open_to_who_has_no_key(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    shop.write_catalog(home)
    closed = running.start(home, workers=1, environment={"KAIROS_ADMIN_KEYS": "first, second"})
    try:
        assert closed.get("/v1/customers/any").status_code == 401
        for key, status in (("second", 404), ("third", 401)):
            reply = closed.http.get("/v1/customers/any", headers={"Authorization": f"Bearer {key}"})
            assert reply.status_code == status
        assert closed.http.delete("/v1/customers/any").status_code == 401
        assert closed.post("/v1/customers/any/consent", {"tracking": False}).status_code == 401
    finally:
        running.stop(closed)


def test_what_consent_says_is_an_event_in_the_archive(service: Service) -> None:
    allow(service, "said-ada", marketing=True, tracking=True)
    [(_, payload)] = service.archived("said-ada")
    assert decode(payload).__struct_config__.tag == "consent"
    assert msgspec.json.decode(payload)["purposes"] == {"marketing": True, "tracking": True}


@pytest.mark.parametrize("name", ["shop/ada", "a/export", "/", "x//consent", "ärger/😀:%2F", "100%/?#&"])
def test_an_id_may_hold_anything_and_is_found_under_its_escaped_path(service: Service, name: str) -> None:
    path = urllib.parse.quote(name, safe="")
    token = allow(service, path, marketing=False)
    decide(service, token, customer_id=name)
    view(service, userId=name)
    profile = show(service, path)
    assert name in profile["ids"]
    exported = service.get(f"/v1/customers/{path}/export")
    assert exported.status_code == 200
    assert name in service.http.delete(f"/v1/customers/{path}").json()["ids"]
    assert service.get(f"/v1/customers/{path}").status_code == 404
