"""The unmodified official clients of Segment, pointed at a running Kairos: everything arrives, once, as it was said."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from segment.analytics.client import Client  # type: ignore[import-untyped]  # it ships no types

from features.events.schema import decode
from tests.service.running import WITHOUT_TLS, wait_until
from tests.service.segment_node import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FunctionType

    from tests.service.running import Service

SCRIPT = Path(install.__file__).parent / "send.cjs"
MINUTES_AGO = 10
Call = tuple[str, dict[str, Any]]


def with_python(host: str, calls: list[Call], *, gzip: bool = False, size: int = 100) -> None:
    """Send calls; returns when all are delivered, fails if the client gives one up."""
    errors: list[Any] = []
    client = Client(
        "python-key",
        host=host,
        gzip=gzip,
        upload_size=size,
        upload_interval=0.1,
        on_error=lambda error, _events: errors.append(error),
    )
    for kind, message in calls:
        names = {re.sub("([A-Z])", r"_\1", name).lower(): value for name, value in message.items()}
        getattr(client, kind)(**names)
    client.flush()
    client.join()
    assert errors == []


def with_node(host: str, calls: list[Call], *, size: int = 100) -> None:
    """As `with_python`; this client never compresses."""
    settings = {"maxEventsInBatch": size, "flushInterval": 100, "maxRetries": 10}
    order = {"host": host, "writeKey": "node-key", "settings": settings, "calls": calls}
    program, _ = install.programs()[0]
    answer = subprocess.run(
        [program, SCRIPT, json.dumps(order, default=datetime.isoformat)],
        capture_output=True,
        text=True,
        check=False,
        env={"NODE_PATH": str(install.FOLDER / "node_modules")},
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["failed"] == []


NODE = pytest.param(
    with_node, id="node", marks=pytest.mark.skipif(bool(install.missing()), reason=str(install.missing()))
)
both = pytest.mark.parametrize("send", [pytest.param(with_python, id="python"), NODE])


def url(service: Service) -> str:
    return str(service.http.base_url)


def stored(service: Service, customer: str) -> list[dict[str, Any]]:
    """The events of a customer as the archive has them."""
    return [msgspec.to_builtins(decode(payload)) for _, payload in service.archived(customer)]


def searches(customer: str, count: int) -> list[Call]:
    return [("track", {"userId": customer, "event": "Searched", "properties": {"at": at}}) for at in range(count)]


def outcomes(service: Service, outcome: str) -> float:
    """How many events have had an outcome, in all API processes."""
    found = re.search(rf'kairos_events_total{{outcome="{outcome}"}} (\S+)', service.get("/metrics").text)
    return float(found[1]) if found else 0.0


@contextlib.contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` in a thread of its own; what it raises fails the test."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(120)
    assert not raised, raised
    assert not thread.is_alive()


@contextlib.contextmanager
def losing_answers(host: str, count: int) -> Iterator[str]:
    """The URL of a way to the service on which the first answers are lost."""
    left = [None] * count

    class Way(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = httpx.post(f"{host}{self.path}", content=body, headers=headers, verify=WITHOUT_TLS)
            if left:
                left.pop()
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            """Not on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Way) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
    assert not left


@both
def test_every_call_of_a_client_arrives_as_it_was_said(service: Service, send: FunctionType) -> None:
    known, unknown = f"calls-{send.__name__}", f"calls-{send.__name__}-anonymous"
    began = datetime.now(UTC) - timedelta(minutes=MINUTES_AGO)
    shared: dict[str, Any] = {"userId": known, "timestamp": began, "context": {"locale": "de-DE", "ip": "::1"}}
    said = {"plan": "gold", "deep": {"er": [1, None, "ü😀"]}}
    calls: list[Call] = [
        ("identify", shared | {"traits": said}),
        ("track", shared | {"event": "Searched", "properties": said, "integrations": {"All": False}}),
        ("page", shared | {"category": "shop", "name": "Home", "properties": said}),
        ("screen", shared | {"category": "shop", "name": "Start", "properties": said}),
        ("group", shared | {"groupId": "g-1", "traits": said}),
        ("track", {"anonymousId": unknown, "event": "Searched", "properties": said}),
    ]
    send(url(service), calls)
    events = {event["type"]: event for event in stored(service, known)}
    assert list(events) == ["identify", "track", "page", "screen", "group"]
    for kind, event in events.items():
        told = event["traits" if kind in ("identify", "group") else "properties"]
        assert {name: told[name] for name in said} == said
        assert event["context"]["library"]["name"] in ("analytics-python", "@segment/analytics-node")
        assert event["context"]["locale"] == "de-DE"
        assert abs(event["received"] - event["time"] - MINUTES_AGO * 60_000_000) < 30_000_000
    assert events["track"]["event"] == "Searched"
    assert (events["page"]["name"], events["screen"]["name"]) == ("Home", "Start")
    assert events["group"]["groupId"] == "g-1"
    (anonymous,) = stored(service, unknown)
    assert anonymous["anonymousId"] == unknown
    assert "userId" not in anonymous


@both
def test_an_alias_of_a_client_arrives(service: Service, send: FunctionType) -> None:
    known, previous = f"alias-{send.__name__}", f"alias-{send.__name__}-anonymous"
    send(url(service), [("alias", {"previousId": previous, "userId": known})])
    everything = [*stored(service, known), *stored(service, previous)]
    (alias,) = [event for event in everything if event["type"] == "alias"]
    assert (alias["previousId"], alias["userId"]) == (previous, known)


@both
def test_the_next_decision_sees_what_a_client_has_sent(service: Service, send: FunctionType) -> None:
    customer = f"seen-{send.__name__}"
    viewed = {"userId": customer, "event": "Product Viewed", "properties": {"product_id": "o-1"}}
    send(url(service), [("track", viewed)])
    wait_until(lambda: service.features(customer).get("customer__product_viewed__count_1d") == 1.0)
    assert service.decide(customer)["features_as_of"] is not None


@pytest.mark.parametrize(
    ("send", "settings"),
    [
        pytest.param(with_python, {}, id="python"),
        pytest.param(with_python, {"gzip": True}, id="python-gzip"),
        pytest.param(with_node, {}, id="node", marks=NODE.marks),
    ],
)
def test_batches_arrive_whole(service: Service, send: FunctionType, settings: dict[str, Any]) -> None:
    customer = f"batch-{send.__name__}-{settings}"
    calls = searches(customer, 260)
    calls[7][1]["properties"]["long"] = "ü" * 5_000
    send(url(service), calls, size=50, **settings)
    assert sorted(event["properties"]["at"] for event in stored(service, customer)) == list(range(260))


@both
def test_a_client_tries_again_while_redis_does_not_answer(service: Service, send: FunctionType) -> None:
    """It is told 503 until then; afterwards nothing is lost, and nothing doubled."""
    customer = f"retry-{send.__name__}"
    before = outcomes(service, "unavailable")
    with beside(lambda: send(url(service), searches(customer, 30), size=10)), service.frozen("redis"):
        wait_until(lambda: outcomes(service, "unavailable") > before)
    assert sorted(event["properties"]["at"] for event in stored(service, customer)) == list(range(30))


@both
def test_an_answer_that_is_lost_on_the_way_doubles_nothing(service: Service, send: FunctionType) -> None:
    """The events are taken in, and the client, which does not know, sends them again."""
    customer = f"lost-{send.__name__}"
    before = outcomes(service, "duplicate")
    with losing_answers(url(service), 2) as host:
        send(host, searches(customer, 10), size=10)
    assert outcomes(service, "duplicate") == before + 20
    assert sorted(event["properties"]["at"] for event in stored(service, customer)) == list(range(10))


def test_a_number_that_is_none_costs_no_other_event_of_pythons_client(service: Service) -> None:
    """It writes NaN, which is no JSON."""
    calls = searches("nan-python", 3)
    calls[1][1]["properties"]["score"] = float("nan")
    with_python(url(service), calls)
    properties = [event["properties"] for event in stored(service, "nan-python")]
    assert properties == [{"at": 0}, {"at": 1, "score": None}, {"at": 2}]


@pytest.mark.skipif(bool(install.missing()), reason=str(install.missing()))
def test_half_an_emoji_costs_no_other_event_of_nodes_client(service: Service) -> None:
    """It writes what a text was cut to, as JavaScript counts characters."""
    calls = searches("half-node", 3)
    calls[1][1]["properties"]["query"] = "shoes \ud83d"
    with_node(url(service), calls)
    properties = [event["properties"] for event in stored(service, "half-node")]
    assert properties == [{"at": 0}, {"at": 1, "query": "shoes \ufffd"}, {"at": 2}]
