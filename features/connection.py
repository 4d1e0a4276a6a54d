"""Connections to Redis: for what is written under a lease, at once or not at all; and for what is asked in a hurry."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from hiredis import ProtocolError, Reader, pack_command
from redis.asyncio import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

from features.fencing import FencedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis import Redis
    from redis.asyncio.connection import AbstractConnection

ONCE = Retry(NoBackoff(), 0)
"""A client's own default is to try again for up to fourteen seconds: long after a lease has run out."""

CONNECT_SECONDS = 1.0
Command = tuple[Any, ...]


def connect(redis_url: str) -> Redis:
    return FencedRedis.from_url(redis_url, socket_timeout=30, socket_connect_timeout=2, retry=ONCE)


class Script:
    """A Lua script and the name that Redis knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def then(self, other: Script, condition: str) -> Script:
        """This one, and the other behind it where `condition` holds of its `answer` -> {answer, the other's or nil}.

        ARGV begins with how many keys and how many arguments are this one's.
        """
        return Script(f"""
local function first(KEYS, ARGV) {self.text} end
local function second(KEYS, ARGV) {other.text} end
local keys, arguments = tonumber(ARGV[1]), tonumber(ARGV[2])
local answer = first({{unpack(KEYS, 1, keys)}}, {{unpack(ARGV, 3, 2 + arguments)}})
if not ({condition}) then return {{answer}} end
return {{answer, second({{unpack(KEYS, keys + 1)}}, {{unpack(ARGV, 3 + arguments)}})}}
""")


class Line:
    """Commands of one event loop over one connection, past redis-py's client, which costs a decision more than the
    commands themselves. Those of concurrent requests travel together. A connection that has gone stale is replaced
    at once; nothing else is tried again.
    """

    def __init__(self, redis_url: str) -> None:
        self._make: Callable[[], AbstractConnection] = ConnectionPool.from_url(
            redis_url, socket_connect_timeout=CONNECT_SECONDS, protocol=2
        ).make_connection
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[Wire] | None = None

    async def ask(self, *command: Any, seconds: float | None = None) -> Any:
        """The answer to one command. Raises redis.RedisError, or TimeoutError after `seconds`."""
        return (await self.ask_all([command], seconds))[0]

    async def ask_all(self, commands: Sequence[Command], seconds: float | None = None) -> list[Any]:
        """The answers to commands that are sent together, in order.

        Raises redis.RedisError if any fails, TimeoutError after `seconds`.
        """
        wire = self._wire
        if wire is not None and wire.is_open:
            began = time.monotonic()
            try:
                return await wire.exchange(commands, seconds)
            except LostError:  # it had gone stale
                seconds = None if seconds is None else seconds - (time.monotonic() - began)
        async with asyncio.timeout(seconds):
            return await (await self._connect()).exchange(commands, None)

    async def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Any], seconds: float | None = None
    ) -> Any:
        """The answer of a script. Raises redis.RedisError, or TimeoutError after `seconds`."""
        try:
            return await self.ask("EVALSHA", script.sha, len(keys), *keys, *arguments, seconds=seconds)
        except NoScriptError:
            return await self.ask("EVAL", script.text, len(keys), *keys, *arguments, seconds=seconds)

    async def _connect(self) -> Wire:
        """A new connection, that of whoever began to make one: it is made for all, and outlives a caller's patience."""
        if self._wire is not None and self._wire.is_open:
            return self._wire
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._greet())
            self._connecting.add_done_callback(_look_at)
        return await asyncio.shield(self._connecting)

    async def _greet(self) -> Wire:
        """Let redis-py connect, encrypt and log in; from then on the connection is a wire."""
        connection = self._make()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's has no types
        except TimeoutError as error:
            raise LostError("Redis does not greet") from error
        writer = connection._writer
        if writer is None:
            raise LostError("Redis hung up")
        connection._reader = connection._writer = None  # else it would close the socket when it is forgotten
        self._wire = Wire(writer)
        return self._wire

    async def close(self) -> None:
        """Close the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.hang_up()
            await asyncio.sleep(0)  # the socket is closed when the loop comes round


class _Asked(msgspec.Struct, eq=False):
    """Commands that wait for their answers."""

    answer: asyncio.Future[list[Any]]
    count: int
    sent: float
    received: list[Any] = []


class Wire(asyncio.Protocol):
    """A connection that has been logged in: commands in, answers out in their order."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer  # which would close the socket, were it forgotten
        self._transport = writer.transport
        self._transport.set_protocol(self)
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(replyError=_error)
        self._asked: deque[_Asked] = deque()
        self._heard = 0.0
        self._retired = False

    @property
    def is_open(self) -> bool:
        """Whether it takes commands of the present event loop."""
        closed = self._retired or self._transport.is_closing()
        return not closed and self._loop is asyncio.get_running_loop()

    async def exchange(self, commands: Sequence[Command], seconds: float | None) -> list[Any]:
        """As `Line.ask_all`; its patience is a timer of the loop, a tenth of what asyncio.timeout costs."""
        asked = _Asked(self._loop.create_future(), len(commands), self._loop.time())
        self._asked.append(asked)
        self._transport.write(b"".join(map(pack_command, commands)))
        timer = None if seconds is None else self._loop.call_later(seconds, _give_up, asked.answer)
        try:
            answers = await asked.answer
        except (asyncio.CancelledError, TimeoutError):
            # Nothing came since: whoever is at the other end may be gone for good. Those who still wait may go on.
            self._retired = self._retired or self._heard < asked.sent
            self._close_if_idle()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return answers

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                asked = self._asked[0]
                asked.received.append(answer)
                if len(asked.received) == asked.count:
                    self._asked.popleft()
                    if not asked.answer.done():
                        asked.answer.set_result(asked.received)
        except (ProtocolError, IndexError):  # not what was asked for: no answer can be told from another any more
            self._transport.abort()
        if self._retired:
            self._close_if_idle()

    def connection_lost(self, error: Exception | None) -> None:
        while self._asked:
            asked = self._asked.popleft()
            if not asked.answer.done():
                asked.answer.set_exception(LostError(str(error or "Redis closed the connection")))

    def hang_up(self) -> None:
        self._transport.abort()

    def _close_if_idle(self) -> None:
        if self._retired and all(asked.answer.done() for asked in self._asked):
            self._transport.abort()


def _give_up(answer: asyncio.Future[list[Any]]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _error(text: str) -> ResponseError:
    if text.startswith("NOSCRIPT"):
        return NoScriptError(text)
    return ResponseError(text)


def _look_at(task: asyncio.Task[Wire]) -> None:
    """So that no failure is called unseen: all who waited may have lost patience."""
    if not task.cancelled():
        task.exception()
