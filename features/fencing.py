"""Writes that Redis carries out only while the writer's lease is held.

A process may stand still between looking at its lease and writing, for as long as it likes: only Redis can tell then.
What a lease has let pass (`Lease.check`) arms it; until it is disarmed, the thread's writes by clients of `connect` and
of the online store are one script with the question whether the lease is still there.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

WRITES = frozenset({"DEL", "EXPIRE", "HDEL", "HSET", "MSET", "SET", "UNLINK", "XADD", "XTRIM", "ZADD", "ZREM"})
"""Commands that are fenced. Scripts are not: those of the streams and leases bear to be repeated."""
MOST_ARGUMENTS = 4000
"""Of one command: Lua's stack holds 8,000."""
_PAIRED = {"HSET": 2, "ZADD": 2}

# KEYS: the lease. ARGV: its owner, then each command as the number of its words and those. -> what each answers.
FENCED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
local answers, at = {}, 2
while at < #ARGV do
  local size = tonumber(ARGV[at])
  answers[#answers + 1] = redis.call(unpack(ARGV, at + 1, at + size))
  at = at + size + 1
end
return answers
"""
_SHA = hashlib.sha1(FENCED.encode(), usedforsecurity=False).hexdigest()


class LeaseLostError(RuntimeError):
    """Another worker owns the partition now: nothing more may be written."""


class _Armed(threading.local):
    lease: tuple[str, str] | None = None


_armed = _Armed()


def arm(key: str, owner: str) -> None:
    """From now on this thread's writes need that lease."""
    _armed.lease = key, owner


def disarm(key: str) -> None:
    """Its writes need that lease no more."""
    if _armed.lease and _armed.lease[0] == key:
        _armed.lease = None


class FencedRedis(Redis):
    """A client whose writes need the lease that is armed, if one is. They raise LeaseLostError without it."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if _armed.lease and args[0] in WRITES:
            return write(self, _armed.lease, [args])[0]
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        pipe = _FencedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.fenced = self
        return pipe


class _FencedPipeline(Pipeline):
    fenced: FencedRedis

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands = [args for args, _ in self.command_stack]
        if not _armed.lease or self.watching or not any(args[0] in WRITES for args in commands):
            return super().execute(raise_on_error)
        self.reset()
        return write(self.fenced, _armed.lease, commands)


def write(redis: Redis, lease: tuple[str, str], commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Carry out commands at once, or none of them if the lease is not there -> their answers as they come."""
    parts = [_split(command) for command in commands]
    words = [word for part in parts for command in part for word in (len(command), *command)]
    key, owner = lease
    try:
        answers = iter(_run(redis, key, [owner, *words]))
    except ResponseError as error:
        if "FENCED" not in str(error):
            raise
        disarm(key)
        raise LeaseLostError(key) from None
    joined = []
    for part in parts:
        one, *more = (next(answers) for _ in part)
        joined.append(one + sum(more) if more else one)
    return joined


def _run(redis: Redis, key: str, arguments: list[Any]) -> list[Any]:
    try:
        return list(Redis.execute_command(redis, "EVALSHA", _SHA, 1, key, *arguments))  # type: ignore[no-untyped-call]  # as above
    except NoScriptError:
        return list(Redis.execute_command(redis, "EVAL", FENCED, 1, key, *arguments))  # type: ignore[no-untyped-call]  # as above


def _split(command: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """One that has too many words, as several that add up to it."""
    if len(command) <= MOST_ARGUMENTS or command[0] not in _PAIRED:
        return [command]
    head, pairs = command[:2], command[2:]
    return [(*head, *pairs[at : at + MOST_ARGUMENTS]) for at in range(0, len(pairs), MOST_ARGUMENTS)]
