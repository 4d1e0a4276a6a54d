"""What intake rejects becomes dead letters: the message as it came, without the write key."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgspec
from redis import RedisError

from features import dead_letters
from features.connection import Line
from service import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.dead_letters import Letter
    from service.events.normalise import RejectedError

log = logging.getLogger(__name__)

KEEP_SECONDS = 0.5
IDS = ("userId", "anonymousId", "previousId")
SECRET = "writeKey"  # noqa: S105  # the name of a field


class Letters:
    """The way to the dead letters; one per process."""

    def __init__(self, redis_url: str, most: int) -> None:
        self._line = Line(redis_url)
        self._most = most

    async def keep(self, letters: Sequence[Letter]) -> None:
        """Keep letters, if Redis takes them now: their senders are told anyway, and must not wait for long."""
        commands = [dead_letters.append_command(letter, self._most) for letter in letters]
        try:
            async with asyncio.timeout(KEEP_SECONDS):
                await self._line.ask_all(commands)
        except (RedisError, OSError, TimeoutError) as error:
            metrics.STORE_ERRORS.labels("dead letter").inc(len(letters))
            log.warning("%d rejected events are not kept as dead letters: %s", len(letters), error)

    async def close(self) -> None:
        await self._line.close()


def write(message: Any, received: int, error: RejectedError) -> Letter:
    """The letter of a message. Ids stand first, so that whose it is can be told also when it is cut."""
    if isinstance(message, dict):
        message = {name: message[name] for name in IDS if name in message} | message
    payload = msgspec.json.encode(_without_key(message))
    return dead_letters.write(received, "intake", error.reason, payload, error.field)


def _without_key(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_key(inner) for name, inner in value.items() if name != SECRET}
    if isinstance(value, list):
        return [_without_key(inner) for inner in value]
    return value
