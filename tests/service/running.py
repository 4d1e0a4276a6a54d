"""A running `kairos up`, seen from outside: by HTTP, by its Redis, by its files and by the ids of its processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import numpy as np
import redis

from features import archive, stream
from features.aggregates.columns import close, decode_rows
from features.aggregates.rows import LAYOUTS
from features.events.schema import Decision, decode
from features.occupancy import read_run
from features.store import OnlineStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from features.home import Home

PROJECT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds that a client of the tests waits for an answer."""
WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Saves each client the reading of all certificates."""
ENVIRONMENT = {"KAIROS_DEADLINE_MS": "3000", "KAIROS_ARCHIVE_SECONDS": "0.5"}
"""A deadline that a busy machine keeps; where a test is about the deadline, its requests bring their own."""


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for a condition; the test fails when it never comes true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true after {seconds} s: {condition}"
        time.sleep(0.02)


class Service(msgspec.Struct):
    """The process tree and its doors."""

    home: Home
    process: subprocess.Popen[bytes]
    output: Path
    http: httpx.Client
    redis_url: str
    children: dict[str, int]

    def said(self) -> str:
        return self.output.read_text()

    def pid(self, part: str) -> int:
        """Process id of `redis`, `worker`, `api-0` or `api-1`, also after it was started again."""
        again = re.findall(rf"{part} is started again \(process (\d+)\)", self.said())
        return int(again[-1]) if again else self.children[part]

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        """POST on a new connection; `body` as JSON, or as it is when bytes."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self.http.post(path, content=content, headers={"Content-Type": "application/json"} | (headers or {}))

    def decide(self, customer: str = "c-1", placement: str = "calm", **asked: Any) -> dict[str, Any]:
        """A decision that must succeed."""
        reply = self.post("/v1/decisions", {"customer_id": customer, "placements": [{"id": placement}], **asked})
        assert reply.status_code == 200, reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    def track(self, customer: str, event: str, **properties: Any) -> str:
        """An event that must be accepted; its token."""
        reply = self.post("/v1/track", {"userId": customer, "event": event, "properties": properties})
        assert reply.status_code == 200, reply.text
        token: str = reply.json()["token"]
        return token

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    @property
    def apis(self) -> list[str]:
        return [part for part in self.children if part.startswith("api")]

    def everywhere(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until /ready has fulfilled the condition in every API process."""
        waiting = {self.pid(part) for part in self.apis}

        def fulfilled() -> bool:
            ready = self.get("/ready").json()
            if condition(ready):
                waiting.discard(ready["process"])
            return not waiting

        wait_until(fulfilled)

    @contextlib.contextmanager
    def at(self, part: str) -> Iterator[Service]:
        """The same, but every request goes to one of the API processes, by a connection that is kept."""
        while True:
            with _client(str(self.http.base_url), httpx.Limits(max_connections=1)) as http:
                if http.get("/ready").json()["process"] == self.pid(part):
                    yield msgspec.structs.replace(self, http=http)
                    return

    def connect(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, socket_timeout=PATIENCE)

    def features(self, customer: str) -> dict[str, float]:
        """The customer's unkeyed features in the online store, once the worker has come as far as the stream is now;
        empty for an unknown one."""
        with self.connect() as client:
            wait_until(lambda: not self._behind(client, stream.cursor_key))
        packed = OnlineStore(self.home, self.redis_url).read("customer", [customer])[0]
        if packed is None:
            return {}
        columns = decode_rows(LAYOUTS["customer"], [(packed.numbers, packed.ids)])
        return {name: float(values[0]) for name, values in close(columns, np.array([time.time()])).items()}

    def archived(self, customer: str) -> list[tuple[str, bytes]]:
        """(message id, bytes) of everything in the archive of a customer, after a flush, in order."""
        with self.connect() as client:
            client.xadd(stream.FLUSH, {"why": "test"})
            wait_until(lambda: self._caught_up(client))
        table = archive.read(self.home.events, ["customer", "message_id", "payload"])
        rows = zip(*(table[name].to_pylist() for name in ("customer", "message_id", "payload")), strict=True)
        return [(message_id, payload) for of, message_id, payload in rows if of == customer]

    def _caught_up(self, client: redis.Redis) -> bool:
        behind = self._behind(client, stream.archived_key)
        if behind:
            client.xadd(stream.FLUSH, {"why": "test"})
        return not behind

    def _behind(self, client: redis.Redis, key: Callable[[int], str]) -> bool:
        """Whether some partition has events that what is kept under that key has not."""
        partitions = range(4)
        lasts: Any = client.mget([stream.last_key(number) for number in partitions])
        done: Any = client.mget([key(number) for number in partitions])
        return any(int(last or 0) > int(until or 0) for last, until in zip(lasts, done, strict=True))

    def logged(self, customer: str) -> list[Decision]:
        """The decisions of a customer as the archive has them."""
        events = [decode(payload) for _, payload in self.archived(customer)]
        return [event for event in events if isinstance(event, Decision)]

    @contextlib.contextmanager
    def frozen(self, *parts: str) -> Iterator[None]:
        """These parts stopped, as if they hung."""
        pids = [self.pid(part) for part in parts]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def kill(self, *parts: str) -> None:
        """End these parts at once, without a chance to say goodbye."""
        for pid in [self.pid(part) for part in parts]:
            os.kill(pid, signal.SIGKILL)


def _client(url: str, limits: httpx.Limits) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=PATIENCE, limits=limits, verify=WITHOUT_TLS)


def start(home: Home, workers: int = 2, environment: dict[str, str] | None = None) -> Service:
    """Start `kairos up` on a free port and wait until it is ready."""
    output = home.root.with_suffix(".output")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "kairos", "up", "--home", home.root, "--port", "0", "--workers", str(workers)],
            cwd=PROJECT,
            env=os.environ | ENVIRONMENT | (environment or {}),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        wait_until(lambda: process.poll() is not None or "Kairos is ready" in output.read_text(), 300)
        run = read_run(home)
        assert run, output.read_text()
    except BaseException:
        process.kill()
        raise
    # A new connection for each request: any of the processes may answer it.
    http = _client(run.api_url, httpx.Limits(max_keepalive_connections=0))
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    names = ["redis", "worker", *(f"api-{number}" for number in range(workers))]
    children = dict(zip(names, map(int, pids), strict=True))
    return Service(home, process, output, http, run.redis_url, children)


def stop(service: Service) -> None:
    service.http.close()
    service.process.send_signal(signal.SIGTERM)
    try:
        assert service.process.wait(60) == 0, service.said()
    finally:
        service.process.kill()
