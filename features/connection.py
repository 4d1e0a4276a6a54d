"""Connections to Redis: for what is written under a lease, at once or not at all; and for what is asked in a hurry."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from hiredis import pack_command
from redis import Redis
from redis.asyncio import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoScriptError, ResponseError
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio.connection import AbstractConnection

ONCE = Retry(NoBackoff(), 0)
"""A client's own default is to try again for up to fourteen seconds: long after a lease has run out."""

Command = tuple[Any, ...]


def connect(redis_url: str) -> Redis:
    return Redis.from_url(redis_url, socket_timeout=30, socket_connect_timeout=2, retry=ONCE)


class Script:
    """A Lua script and the name that Redis knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Line:
    """Commands over connections of one event loop, past the layers of redis-py's client, which cost a decision more
    than the commands themselves. A connection that has gone stale is replaced at once; nothing else is tried again.
    """

    def __init__(self, redis_url: str) -> None:
        self._make: Callable[[], AbstractConnection] = ConnectionPool.from_url(
            redis_url, socket_connect_timeout=1.0
        ).make_connection
        self._idle: list[AbstractConnection] = []

    async def ask(self, *command: Any) -> Any:
        """The answer to one command. Raises redis.RedisError."""
        return (await self.ask_all([command]))[0]

    async def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands that are sent together, in order. Raises redis.RedisError, if any fails."""
        if self._idle:
            try:
                return await self._exchange(self._idle.pop(), commands)
            except LostError:
                await self.close()  # it had gone stale, and so may the others have
        return await self._exchange(self._make(), commands)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """The answer of a script. Raises redis.RedisError."""
        try:
            return await self.ask("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await self.ask("EVAL", script.text, len(keys), *keys, *arguments)

    async def _exchange(self, connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
        await connection.send_packed_command(b"".join(map(pack_command, commands)))
        answers, failed = [], None
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except ResponseError as error:  # anything else has closed the connection
                failed = failed or error
        self._idle.append(connection)
        if failed:
            raise failed
        return answers

    async def close(self) -> None:
        """Close the connections that nobody waits on."""
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)
