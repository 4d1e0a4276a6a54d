"""One keep-alive connection under asyncio with one request in flight: what the clients that do not wait are made of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.benchmarks import wire

if TYPE_CHECKING:
    from collections.abc import Callable


class Connection(asyncio.Protocol):
    """Calls `answered(connection, status, body)` for each answer; status 0: the connection was lost on the way."""

    __slots__ = ("answered", "busy", "intended", "received", "transport")

    def __init__(self, answered: Callable[[Connection, int, bytes], None]) -> None:
        self.answered = answered
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self.busy = False
        self.intended = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream protocol is given a Transport

    def send(self, request: bytes, intended: float) -> None:
        """`intended`: when it should have started, which the latency counts from."""
        self.busy, self.intended = True, intended
        if self.transport is None:
            self.finish(0, b"not connected")
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received = self.received + data if self.received else data
        answer = wire.split(self.received)
        if answer is not None:
            self.received = b""
            self.finish(*answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.received = b""
        if self.busy:
            self.finish(0, str(exc or "closed by the server").encode())

    def finish(self, status: int, body: bytes) -> None:
        self.busy = False
        self.answered(self, status, body)

    def close(self) -> None:
        self.busy = False
        if self.transport is not None:
            self.transport.close()


async def connect(url: str, count: int, answered: Callable[[Connection, int, bytes], None]) -> list[Connection]:
    """`count` open connections; OSError when the server refuses one."""
    host, port = wire.address(url)
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(lambda: Connection(answered), host, port))[1] for _ in range(count)]
