"""Asks the service: the two calls that the crowd needs and what it reads of their answers.

Refuses anything but plain http, and raises ServiceError for any answer that is not a success.
"""

from __future__ import annotations

import asyncio
from datetime import datetime  # noqa: TC003 - msgspec resolves it at run time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from training.simulation.connection import BusyError, Connection, LostError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 30.0
"""Seconds that an answer may take."""
ATTEMPTS, ATTEMPT_PAUSE = 20, 0.5
"""How often events that the service cannot take at the moment are sent, and the seconds in between."""


class Contribution(msgspec.Struct, frozen=True):
    words: str
    contribution: float


class ExplainedItem(msgspec.Struct, frozen=True):
    id: str
    contributions: list[Contribution]


class Explanation(msgspec.Struct, frozen=True):
    items: list[ExplainedItem]


class Item(msgspec.Struct, frozen=True):
    id: str
    propensity: float | None = None


class Placement(msgspec.Struct, frozen=True):
    id: str
    items: list[Item]
    explanation: Explanation | None = None


class Model(msgspec.Struct, frozen=True):
    name: str
    version: str


class Decision(msgspec.Struct, frozen=True):
    """What of a decision's answer the crowd looks at."""

    decision_id: str
    rung: str
    placements: list[Placement]
    features_as_of: datetime | None = None
    model: Model | None = None


class Accepted(msgspec.Struct, frozen=True):
    success: bool
    token: str


class Ready(msgspec.Struct, frozen=True):
    problems: dict[str, str] = {}


_encode = msgspec.json.Encoder().encode
_decision = msgspec.json.Decoder(Decision)
_accepted = msgspec.json.Decoder(Accepted)


class Client:
    """Asks one service; as many connections as there are requests at the same time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url!r}: http://host:port is expected")
        self._host, self._port = parts.hostname, parts.port or 80
        self._idle: list[Connection] = []
        self.refusals = 0
        """Batches of events that had to be sent again."""

    async def decide(self, request: dict[str, Any]) -> Decision:
        return _decision.decode(await self.request("POST", "/v1/decisions", _encode(request)))

    async def send(self, events: Sequence[dict[str, Any]]) -> str:
        """Send events in one batch; the token that a decision may wait for.

        A busy service gets the same events again, as from any client: their message ids keep them from counting twice.
        """
        body = _encode({"batch": events})
        for _ in range(ATTEMPTS - 1):
            try:
                answer = await self.request("POST", "/v1/batch", body)
                break
            except BusyError:
                self.refusals += 1
                await asyncio.sleep(ATTEMPT_PAUSE)
        else:
            answer = await self.request("POST", "/v1/batch", body)
        accepted = _accepted.decode(answer)
        if not accepted.success:
            raise ServiceError("the service took the events but did not accept them")
        return accepted.token

    async def is_ready(self) -> bool:
        try:
            await self.request("GET", "/ready")
        except ServiceError:
            return False
        return True

    async def problems(self) -> dict[str, str]:
        """What the service refuses or misses at the moment, by part."""
        return msgspec.json.decode(await self.request("GET", "/ready"), type=Ready).problems

    async def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of a 2xx answer; once more on a new connection when the one at hand was closed while it was idle."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
        encoded = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        while self._idle and not self._idle[-1].open:
            self._idle.pop()
        reused = bool(self._idle)
        try:
            status, answer = await self._exchange(self._idle.pop() if reused else await self._connect(), encoded)
        except LostError as error:
            if not reused:
                raise ServiceError(f"{method} {path}: {error}") from error
            self.close()
            return await self.request(method, path, body)
        except TimeoutError as error:
            raise ServiceError(f"{method} {path}: no answer within {PATIENCE:.0f} s") from error
        except OSError as error:
            raise ServiceError(f"{method} {path}: {error}") from error
        if not 200 <= status < 300:
            kind = BusyError if status == 503 else ServiceError
            raise kind(f"{method} {path}: {status} {answer[:500].decode(errors='replace')}")
        return answer

    def close(self) -> None:
        """Close the connections that are not in use."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _exchange(self, connection: Connection, request: bytes) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await connection.exchange(request)
        except BaseException:
            connection.close()  # an answer that comes later belongs to nobody
            raise
        self._idle.append(connection)
        return answer

    async def _connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        return connection
