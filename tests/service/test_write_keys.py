"""Write keys: with some set, nobody sends events without one, and the key is kept nowhere."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from segment.analytics.client import Client  # type: ignore[import-untyped]  # it ships no types

from features.home import Home
from features.settings import SettingsError, load
from service.events import keys
from tests.service import running, shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.running import Service

EVENT: dict[str, Any] = {"type": "track", "userId": "key-1", "event": "Searched"}
SET = "first-key, second:key,schlüssel"
RIGHT = ["first-key", "schlüssel"]


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own, with keys."""
    home = Home(tmp_path_factory.mktemp("guarded") / "home")
    shop.write_catalog(home)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KAIROS_WRITE_KEYS", SET)
        started = running.start(home, workers=1)
    yield started
    running.stop(started)


@pytest.mark.parametrize("path", ["/v1/track", "/v1/t", "/v1/batch", "/v1/b", "/v1/import"])
def test_a_key_is_taken_from_each_place_that_clients_put_it(guarded: Service, path: str) -> None:
    body = {"batch": [EVENT]} if path in ("/v1/batch", "/v1/b", "/v1/import") else EVENT
    for key in RIGHT:
        for headers, extra in (
            (basic(f"{key}:"), {}),
            (basic(key), {}),
            (basic(f"{key}:password"), {}),
            ({"Authorization": f"bearer {RIGHT[0]}"}, {}),
            ({}, {"writeKey": key}),
            ({"Authorization": "Bearer a-token"}, {"writeKey": key}),
        ):
            assert guarded.post(path, body | extra, headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
def test_without_a_known_key_nothing_is_taken(guarded: Service, path: str) -> None:
    body = {"batch": [EVENT]} if path == "/v1/batch" else EVENT
    wrong: list[tuple[str | None, dict[str, Any]]] = [
        (None, {}),
        *((basic(credentials)["Authorization"], {}) for credentials in ("other:", ":first-key", ":", "first-ke", "+:")),
        (basic("second:key")["Authorization"], {}),  # a user's name ends at the first colon
        ("Basic first-key", {}),
        ("Basic \xff\xfe", {}),
        ("Basic", {}),
        ("first-key", {}),
        ("Bearer", {}),
        ("Bearer first-key second", {}),
        *((None, {"writeKey": key}) for key in ("other", "", None, 1, ["first-key"], "\0")),
    ]
    for authorization, extra in wrong:
        headers = [] if authorization is None else [(b"Authorization", authorization.encode("latin-1"))]
        reply = guarded.http.post(path, json=body | extra, headers=headers)
        assert reply.status_code == 401, (authorization, extra)
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.headers["www-authenticate"] == 'Bearer realm="kairos"'
        assert "first-key" not in reply.text


@pytest.mark.parametrize(("key", "refused"), [("first-key", []), ("other", [401])])
def test_a_key_of_segments_client_is_checked(guarded: Service, key: str, refused: list[int]) -> None:
    errors: list[Any] = []
    client = Client(key, host=str(guarded.http.base_url), gzip=True, on_error=lambda error, _: errors.append(error))
    client.track(user_id=f"client-{key}", event="Searched")
    client.flush()
    client.join()
    assert [error.status for error in errors] == refused
    assert len(guarded.archived(f"client-{key}")) == (0 if refused else 1)


def test_decisions_and_health_need_no_key(guarded: Service) -> None:
    assert guarded.decide("key-2")["rung"]
    assert guarded.get("/health").status_code == 200


def test_a_key_is_kept_nowhere(guarded: Service) -> None:
    guarded.post(
        "/v1/batch", {"writeKey": "first-key", "batch": [EVENT | {"writeKey": "first-key"}, {"writeKey": "first-key"}]}
    )
    guarded.post(
        "/v1/track", {"userId": "key-3", "event": "", "writeKey": "first-key", "context": {"writeKey": "first-key"}}
    )
    with guarded.connect() as client:
        letters = client.xrange("kairos:dead")
        assert len(letters) == 2
        assert b"first-key" not in repr(letters).encode()
    assert all(b"first-key" not in payload for _, payload in guarded.archived("key-1"))
    assert "first-key" not in guarded.said()


def test_with_keys_there_is_nothing_to_warn_of(guarded: Service) -> None:
    assert guarded.get("/ready").json()["problems"].get("write_keys") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_without_keys_a_loopback_address_is_nothing_to_warn_of(host: str) -> None:
    assert keys.warn((), host) == {}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "fe80::1%eth0"])  # noqa: S104  # not bound
def test_without_keys_any_other_address_is(host: str) -> None:
    assert host in keys.warn((), host)["write_keys"]
    assert keys.warn(("key",), host) == {}


def test_keys_are_read_with_commas_between(home: Home) -> None:
    assert load({"KAIROS_WRITE_KEYS": SET}, home.root).write_keys == ("first-key", "second:key", "schlüssel")
    assert load({"KAIROS_WRITE_KEYS": ""}, home.root).write_keys == ()
    with pytest.raises(SettingsError, match="KAIROS_WRITE_KEYS"):
        load({"KAIROS_WRITE_KEYS": " , "}, home.root)
