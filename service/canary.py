"""The canary: a reserved customer whose events measure, all the time, how old an event is when the worker has it in the
row. Decisions add a customer's newest events themselves, but not the canary's: they are in no list.

One API process has the role at a time. It appends as intake does and reads as decisions do. Its events change the
canary's own row alone, no candidate's or total, and are not archived; one not seen within the patience is that old.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING

import msgspec
from redis import RedisError

from features import stream
from features.connection import Line, Script
from features.events.schema import Track, encode
from features.reserved import CANARY
from service import metrics
from service.decisions.store import UnreachableError

if TYPE_CHECKING:
    from features.settings import Settings
    from service.decisions.store import DecisionStore

EVENT = "Freshness Measured"
SECONDS = 1.0
"""From one measurement to the next."""
PATIENCE_SECONDS = 10.0
ANSWER_SECONDS = 1.0
LEASE, LEASE_SECONDS = "kairos:{canary}:lease", 15.0
AGES, KEPT = "kairos:{canary}:ages", 600
"""The latest measurements, newest first."""
LEAST_PAUSE, MOST_PAUSE, SHARE = 0.0005, 0.05, 0.1
"""Between two looks: a tenth of the age so far, so that an age is exact to that and a long wait costs few reads."""

TAKE = Script("""
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
RELEASE = Script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")


class Age(msgspec.Struct, frozen=True, array_like=True):
    """One measurement: when (microseconds since the epoch), and from event to decision in seconds."""

    time: int
    seconds: float


class Canary:
    """The role, taken when it is free. It says what it measured in the metrics, and in Redis."""

    def __init__(
        self, settings: Settings, redis_url: str, store: DecisionStore, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._partition = stream.partition_of(CANARY, settings.partitions)
        self._store, self._line = store, Line(redis_url)
        self._owner, self._patience = uuid.uuid4().hex, patience

    async def measure(self) -> Age | None:
        """Measure once, if this process has the role; None if not, or if Redis is away, which is counted."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if not await self._line.run(TAKE, [LEASE], [self._owner, int(LEASE_SECONDS * 1000)]):
                    return None
            age = await self._send_and_see()
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._line.ask_all(
                    [("LPUSH", AGES, msgspec.msgpack.encode(age)), ("LTRIM", AGES, 0, KEPT - 1)],
                )
        except (UnreachableError, RedisError, OSError, TimeoutError):
            metrics.CANARY.labels("unreachable").inc()
            return None
        return age

    async def _send_and_see(self) -> Age:
        now, began = time.time_ns() // 1000, time.perf_counter()
        event = Track(message_id=f"canary:{now}", customer=CANARY, user_id=CANARY, time=now, received=now, event=EVENT)
        # Without an id: it is never sent twice, and deduplication need not remember it.
        (arrival,) = await self._store.append(self._partition, [stream.Message(None, encode(event))], ANSWER_SECONDS)
        while not await self._is_seen(arrival):
            age = time.perf_counter() - began
            if age > self._patience:
                break
            await asyncio.sleep(min(max(LEAST_PAUSE, age * SHARE), MOST_PAUSE))
        age = time.perf_counter() - began
        metrics.CANARY.labels("late" if age > self._patience else "seen").inc()
        metrics.EVENT_TO_DECISION.observe(age)
        return Age(now, age)

    async def _is_seen(self, arrival: int) -> bool:
        [known], _ = await self._store.read_customers([CANARY], ANSWER_SECONDS)
        return known.row is not None and known.row.applied >= arrival

    async def close(self) -> None:
        """Let another process have the role."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._line.run(RELEASE, [LEASE], [self._owner])
        await self._line.close()
