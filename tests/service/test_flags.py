"""Flags of a running service: what a unit would get, by whose rules, and how a change is told."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from service.catalog.compiled import compile_catalog
from service.catalog.schema import Catalog
from service.experiments.flags.evaluation import version_at
from tests.service import shop
from tests.service.flagging import COLOURS, FLAGS, PLAIN, SPLIT, catalog, flagged, given, put
from tests.service.running import wait_until

if TYPE_CHECKING:
    import httpx

    from tests.service.running import Service

__all__ = ["flagged"]  # a fixture


def evaluate(service: Service, key: str, **context: Any) -> httpx.Response:
    return service.post(f"{FLAGS}/{key}", {"context": context})


def test_flags_of_every_type_are_given_with_their_reasons(flagged: Service) -> None:
    got = given(flagged, "plain-1")
    assert got["switch"] == {"key": "switch", "reason": "STATIC", "variant": "on", "value": True}
    assert got["greeting"] == {"key": "greeting", "reason": "UNKNOWN", "variant": "plain", "value": "Hello"}
    assert got["theme"]["value"] == {"ink": "#fff", "sizes": [1, 2]}
    assert got["killed"] == {"key": "killed", "reason": "DISABLED", "variant": ""}
    assert got["later"] == {"key": "later", "reason": "DISABLED", "variant": "", "metadata": {"experiment": "later"}}
    assert (got["decided"]["reason"], got["decided"]["value"]) == ("STATIC", "#00f")
    split = got["colour"]
    assert (split["reason"], split["value"]) == ("SPLIT", COLOURS[split["variant"]])
    assert split["metadata"]["experiment"] == "colour"
    assert split["metadata"]["variant"] == split["variant"]
    assert 0 <= split["metadata"]["bucket"] < 10_000


def test_rules_read_the_context_and_the_customers_features(flagged: Service) -> None:
    gold = given(flagged, "rules-1", traits={"plan": "gold"})["greeting"]
    assert (gold["variant"], gold["reason"]) == ("gold", "TARGETING_MATCH")
    assert given(flagged, "rules-1")["rows"]["value"] == 3
    for product in ("o-1", "o-2"):
        flagged.track("rules-1", "Product Viewed", product_id=product)
    wait_until(lambda: given(flagged, "rules-1")["rows"]["value"] == 9)


def test_the_same_unit_has_the_same_variant_everywhere_and_units_differ(flagged: Service) -> None:
    seen = {name: given(flagged, name)["colour"]["variant"] for name in (f"same-{number}" for number in range(20))}
    assert set(seen.values()) == set(COLOURS)
    for name, variant in list(seen.items())[:5]:
        told = flagged.get(f"/v1/flags?customer_id={name}").json()
        assert {one["id"]: one["variant"] for one in told["experiments"]}["colour"] == variant
        assert evaluate(flagged, "colour", targetingKey=name).json()["variant"] == variant


def test_a_customer_keeps_the_variant_of_the_visitor_that_they_were(flagged: Service) -> None:
    visitors = [f"joined-visitor-{number}" for number in range(6)]
    before = {name: given(flagged, name)["colour"]["variant"] for name in visitors}
    for name in visitors:
        flagged.post("/v1/track", {"anonymousId": name, "event": "Product Viewed", "properties": {"product_id": "o-1"}})
        wait_until(partial(flagged.features, name))
        both = given(flagged, f"known-{name}", anonymousId=name)
        assert both["colour"]["variant"] == before[name]
        flagged.post("/v1/identify", {"anonymousId": name, "userId": f"known-{name}"})
        wait_until(partial(flagged.features, f"known-{name}"))
        told = flagged.get(f"/v1/flags?customer_id=known-{name}").json()
        assert told["unit"] == name
        assert given(flagged, f"known-{name}")["colour"]["variant"] == before[name]


def test_visitors_and_flags_keep_variant_and_chance_though_weights_moved_and_visitors_sign_in(flagged: Service) -> None:
    old = [f"bound-{number}" for number in range(8)]
    for name in old:
        flagged.post("/v1/track", {"anonymousId": name, "event": "Product Viewed", "properties": {"product_id": "o-1"}})
        wait_until(partial(flagged.features, name))
    moves = [{"since": time.time_ns() // 1000, "weights": [0.2, 0.8]}]
    bandit = {"unit": "anonymous", "allocation": {"kind": "thompson", "every": "30d"}, "moves": moves}
    page = {"placements": ["calm"], "variants": [{"id": "red"}, {"id": "blue", "exploration": 0.5}]}
    document = catalog()
    document["experiments"] += [SPLIT | bandit | {"id": "bound"}, SPLIT | bandit | page | {"id": "page"}]
    put(flagged, document)

    def tell(name: str, known: str | None) -> tuple[Any, ...]:
        """Of the flag and of a decision: variants and chances."""
        flag = given(flagged, known or name, anonymousId=name)["bound"]
        asked = {"anonymous_id": name, "placements": [{"id": "calm"}]} | ({"customer_id": known} if known else {})
        decision = flagged.post("/v1/decisions", asked).json()
        [logged] = [one for one in flagged.logged(known or name) if one.decision_id == decision["decision_id"]]
        return flag["variant"], logged.variants["page"], flag["metadata"]["chance"], logged.chances["page"]

    def is_joined(known: str) -> bool:
        return bool(flagged.get(f"/v1/flags?customer_id={known}").json()["unit"] != known)

    before = {name: tell(name, None) for name in old}
    assert {told[2:] for told in before.values()} == {(0.5, 0.5)}
    assert len({told[:2] for told in before.values()}) > 1
    for number, name in enumerate(old):
        known = f"signed-{name}" if number % 2 else "signed-in"  # who has several devices is several units
        assert tell(name, known) == before[name]
        flagged.post("/v1/identify", {"anonymousId": name, "userId": known})
        wait_until(partial(is_joined, known))
        assert tell(name, known) == before[name]
    for number in range(8):
        told = tell(f"came-later-{number}", "signed-in")
        assert told[2:] == tuple(0.8 if arm == "blue" else 0.2 for arm in told[:2])
    for one in document["experiments"][-2:]:
        one["status"] = "stopped"
    put(flagged, document)
    put(flagged, catalog())


def test_asking_enrols_nobody(flagged: Service) -> None:
    for path in ("/v1/flags?customer_id=silent", "/v1/flags?anonymous_id=silent"):
        assert flagged.get(path).status_code == 200
    given(flagged, "silent")
    assert flagged.archived("silent") == []


def test_bots_are_answered_and_in_no_experiment(flagged: Service) -> None:
    agent = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    got = given(flagged, "bot-1", userAgent=agent)
    assert (got["colour"]["reason"], got["colour"]["metadata"]["enrolled"]) == ("UNKNOWN", False)
    assert got["colour"]["value"] == "#f00"
    assert got["switch"]["value"] is True


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("", "customer_id"),
        ("?customer_id=", "customer_id"),
        ("?customer_id=" + "a" * 257, "customer_id"),
        ("?customer_id=a&context=[1]", "context"),
        ("?customer_id=a&context=%7B", "context"),
    ],
)
def test_units_without_an_id_and_contexts_that_are_none_are_refused(flagged: Service, path: str, field: str) -> None:
    reply = flagged.get(f"/v1/flags{path}")
    assert reply.status_code == 400
    assert field in reply.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"", "PARSE_ERROR"),
        (b"[]", "INVALID_CONTEXT"),
        (b'{"context": 7}', "INVALID_CONTEXT"),
        (b"{}", "INVALID_CONTEXT"),
        (b'{"context": {}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": ""}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": null}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "a", "anonymousId": [1]}}', "INVALID_CONTEXT"),
    ],
)
def test_what_cannot_be_evaluated_has_the_protocols_code(flagged: Service, body: bytes, code: str) -> None:
    one = flagged.post(f"{FLAGS}/switch", body)
    assert (one.status_code, one.json()["errorCode"], one.json()["key"]) == (400, code, "switch")
    assert one.json()["errorDetails"]
    several = flagged.post(FLAGS, body)
    assert (several.status_code, several.json()["errorCode"]) == (400, code)


def test_an_unknown_flag_is_not_found(flagged: Service) -> None:
    reply = evaluate(flagged, "nothing", targetingKey="a")
    assert (reply.status_code, reply.json()["errorCode"], reply.json()["key"]) == (404, "FLAG_NOT_FOUND", "nothing")


def test_ids_of_flags_may_hold_anything(flagged: Service) -> None:
    assert evaluate(flagged, "odd%2Fn%C3%A4me", targetingKey="a").json()["value"] is True


def test_an_etag_spares_what_has_not_changed(flagged: Service) -> None:
    body = {"context": {"targetingKey": "etag-1"}}
    first = flagged.post(FLAGS, body)
    again = flagged.post(
        f"{FLAGS}?flagConfigEtag=x&flagConfigLastModified=1", body, {"If-None-Match": first.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = flagged.post(
        FLAGS,
        {"context": {"targetingKey": "etag-1", "traits": {"plan": "gold"}}},
        {"If-None-Match": first.headers["etag"]},
    )
    assert other.status_code == 200


def test_pages_of_other_origins_may_ask(flagged: Service) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    for path in (FLAGS, f"{FLAGS}/switch"):
        allowed = flagged.http.options(path, headers=asked)
        assert allowed.status_code == 204
        assert "If-None-Match" in allowed.headers["access-control-allow-headers"]
        reply = flagged.post(path, {"context": {"targetingKey": "a"}}, {"Origin": "https://shop.example"})
        assert reply.headers["access-control-allow-origin"] == "*"


def follow(service: Service, ready: threading.Event, got: list[dict[str, Any]], path: str, known: str = "") -> None:
    """Until the stream has told of one change."""
    headers = {"Last-Event-ID": known} if known else {}
    with service.http.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            ready.set()
            if line.startswith("data:"):
                got.append(json.loads(line.removeprefix("data:")))
                return


def version(service: Service) -> str:
    """Of the flags, as a bulk answer has it."""
    told: str = service.post(FLAGS, {"context": {"targetingKey": "a"}}).json()["metadata"]["version"]
    return told


def test_a_kill_switch_is_told_and_holds_in_every_process(flagged: Service) -> None:
    answer = flagged.post(FLAGS, {"context": {"targetingKey": "a"}}).json()
    stream = f"/ofrep/v1/stream?version={answer['metadata']['version']}"
    assert answer["eventStreams"] == [{"type": "sse", "endpoint": {"requestUri": stream}, "inactivityDelaySec": 120}]
    ready = threading.Event()
    got: list[dict[str, Any]] = []
    listening = threading.Thread(target=follow, args=(flagged, ready, got, stream))
    listening.start()
    assert ready.wait(30)
    put(flagged, catalog(candidates=[{**one, "price": 99.0} for one in shop.CANDIDATES]))  # concerns no flag
    off = [{**PLAIN[0], "enabled": False}, *PLAIN[1:]]
    document = catalog(flags=off)
    document["experiments"][-4] = SPLIT | {"status": "stopped"}
    put(flagged, document)
    listening.join(30)
    assert not listening.is_alive()
    assert [each["type"] for each in got] == ["refetchEvaluation"]
    assert abs(got[0]["lastModified"] - time.time()) < 60
    assert got[0]["etag"] == version(flagged)
    for api in flagged.apis:
        with flagged.at(api) as here:
            assert "value" not in given(here, "a")["switch"]
            assert given(here, "a")["colour"]["reason"] == "DISABLED"
    put(flagged, catalog())


def test_what_changed_before_a_stream_was_opened_or_while_it_was_broken_is_told_at_once(flagged: Service) -> None:
    before = version(flagged)
    put(flagged, catalog(flags=[{**PLAIN[0], "enabled": False}, *PLAIN[1:]]))
    now = version(flagged)
    assert now != before
    for path, known in ((f"/ofrep/v1/stream?version={before}", ""), (f"/ofrep/v1/stream?version={now}", before)):
        got: list[dict[str, Any]] = []
        follow(flagged, threading.Event(), got, path, known)
        assert got[0]["etag"] == now
    put(flagged, catalog())


def test_a_process_that_is_asked_for_what_another_one_has_told_waits_until_it_has_it(flagged: Service) -> None:
    off = catalog(flags=[{**PLAIN[0], "enabled": False}, *PLAIN[1:]])
    put(flagged, off)
    later = version(flagged)

    def is_waited_for() -> bool:
        """False if the machine was too busy to publish within the time that a process waits."""
        put(flagged, catalog())
        got: list[dict[str, Any]] = []

        def ask(here: Service) -> None:
            got.append(here.post(f"{FLAGS}?flagConfigEtag={later}", {"context": {"targetingKey": "a"}}).json())

        with flagged.at(flagged.apis[0]) as here:
            asking = threading.Thread(target=ask, args=(here,))
            asking.start()
            put(flagged, off)
            asking.join()
        return bool(got[0]["metadata"]["version"] == later)

    wait_until(is_waited_for)
    put(flagged, catalog())


def test_what_begins_and_ends_by_itself_makes_another_version_of_the_flags() -> None:
    span = {"starts": "2026-12-01T00:00:00Z", "ends": "2026-12-14T00:00:00Z"}
    compiled = compile_catalog(Catalog.model_validate(catalog(experiments=[SPLIT | span])), "1")
    days = [datetime(2026, 11, 30, tzinfo=UTC) + timedelta(days=day) for day in (0, 1, 13, 14)]
    versions = [version_at(compiled, int(day.timestamp() * 1e6)) for day in days]
    assert versions[1] == versions[2]
    assert len(set(versions)) == 3


def test_a_hundred_flags_are_evaluated_at_once(flagged: Service) -> None:
    many = [{**PLAIN[1], "id": f"many-{number}"} for number in range(100)]
    put(flagged, catalog(flags=[*PLAIN, *many]))
    got = given(flagged, "hundred", traits={"plan": "gold"})
    assert sum(flag.get("value") == "Welcome back" for flag in got.values()) == 101
    put(flagged, catalog())
