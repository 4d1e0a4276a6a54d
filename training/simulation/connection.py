"""One HTTP/1.1 keep-alive connection with one request at a time.

It costs little, as the crowd shares the cores with the service that it asks.
"""

from __future__ import annotations

import asyncio

import httptools


class ServiceError(RuntimeError):
    """The service did not answer, or did not answer with success; the message says what it said."""


class BusyError(ServiceError):
    """The service asks to try again later (503)."""


class LostError(ConnectionError):
    """The connection ended before an answer began."""


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.open = False
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None

    def exchange(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Status and body of the answer."""
        self._waiter = asyncio.get_running_loop().create_future()
        if self._transport is None or not self.open:
            self._waiter.set_exception(LostError("the connection is closed"))
        else:
            self._transport.write(request)
        return self._waiter

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.open, self._transport = True, transport  # type: ignore[assignment]  # a stream protocol is given a Transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(LostError(str(exc or "closed by the service")))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.close()
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(ServiceError(f"an answer that is not HTTP: {error}"))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status, body = self._parser.get_status_code(), bytes(self._body)
        self._body.clear()
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((status, body))
