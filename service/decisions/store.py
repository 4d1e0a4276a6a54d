"""The decision path's way to Redis, guarded: reads and writes under a deadline, a breaker while the store is away, and
a bounded spill file for decisions that could not be appended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec
import redis.asyncio
from redis import RedisError

from features import stream
from features.ids import digest
from features.store import OnlineStore, Packed
from service import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.settings import Settings
    from features.stream import Message

log = logging.getLogger(__name__)

ANSWERS_KEPT_SECONDS = 15 * 60
FAILURES = 3
"""Failures in a row after which the store is left alone for a while."""
PAUSE_SECONDS = 0.5
SPILL_SECONDS = 1.0
SPILL_BATCH = 500


class UnreachableError(Exception):
    """Redis did not answer in time, or at all."""


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer kept for retries, with a digest of what was asked."""

    asked: int
    body: bytes


class DecisionStore:
    """Redis as decisions and intake use it; one per process."""

    def __init__(self, settings: Settings, redis_url: str, index: int) -> None:
        self._settings = settings
        self._online = OnlineStore(settings.home, redis_url)
        self._redis = redis.asyncio.Redis.from_url(redis_url, socket_connect_timeout=1.0)
        self._append: Any = self._redis.register_script(stream.APPEND)
        self._failures = 0
        self._closed_until = 0.0
        self._spill = settings.home.spill / f"{index}.jsonl"
        self._spilled = _count_lines(self._spill)

    async def _guard(self, operation: str, work: Any, seconds: float) -> Any:
        """Await `work` for at most `seconds`. Raises UnreachableError, at once while the breaker is open."""
        if time.monotonic() < self._closed_until or seconds <= 0:
            if asyncio.iscoroutine(work):
                work.close()
            raise UnreachableError(operation)
        try:
            async with asyncio.timeout(seconds):
                result = await work
        except (RedisError, OSError, TimeoutError) as error:
            metrics.STORE_ERRORS.labels(operation).inc()
            self._failures += 1
            if self._failures >= FAILURES:
                if not self._closed_until:
                    log.warning("Redis is left alone, it does not answer: %s", error or type(error).__name__)
                self._closed_until = time.monotonic() + PAUSE_SECONDS
            raise UnreachableError(operation) from error
        if self._closed_until:
            log.info("Redis answers again")
        self._failures, self._closed_until = 0, 0.0
        return result

    async def read_customer(self, customer: str, seconds: float) -> Packed | None:
        """The customer's row, None if unknown. Raises UnreachableError."""
        row: Packed | None = await self._guard("read", self._online.read_customer(customer), seconds)
        return row

    async def read_answer(self, partition: int, decision_id: str, seconds: float) -> StoredAnswer | None:
        """What was answered to this id before. Raises UnreachableError."""
        found = await self._guard("read", self._redis.get(_answer_key(partition, decision_id)), seconds)
        return None if found is None else msgspec.msgpack.decode(found, type=StoredAnswer)

    async def wait_for(self, tokens: Sequence[tuple[int, int]], seconds: float) -> None:
        """Wait until the features hold the events of these tokens, or the time is over."""
        deadline = time.monotonic() + seconds
        pause = 0.001
        while (left := deadline - time.monotonic()) > 0:
            keys = [stream.cursor_key(partition) for partition, _ in tokens]
            cursors = await self._guard("read", self._redis.mget(keys), left)
            if all(int(cursor or 0) >= arrival for cursor, (_, arrival) in zip(cursors, tokens, strict=True)):
                return
            await asyncio.sleep(min(pause, max(deadline - time.monotonic(), 0.0)))
            pause = min(pause * 1.5, 0.01)

    async def append(
        self,
        partition: int,
        messages: Sequence[Message],
        seconds: float,
        kept: tuple[str, StoredAnswer] | None = None,
    ) -> list[int]:
        """Append events, and keep an answer for retries -> arrivals, 0 for duplicates. Raises UnreachableError."""
        keys, arguments = stream.append_arguments(partition, messages, time.time())
        if kept is None:
            arrivals: list[int] = await self._guard("append", self._append(keys=keys, args=arguments), seconds)
            return arrivals
        decision_id, stored = kept
        pipe = self._redis.pipeline(transaction=True)
        pipe.eval(stream.APPEND, len(keys), *keys, *arguments)
        pipe.set(_answer_key(partition, decision_id), msgspec.msgpack.encode(stored), ex=ANSWERS_KEPT_SECONDS, nx=True)
        results = await self._guard("append", pipe.execute(), seconds)
        return list(results[0])

    def spill(self, payload: bytes) -> None:
        """Keep a decision's event on disk until Redis is back; beyond the bound it is counted and lost."""
        if self._spilled >= self._settings.spill_decisions:
            metrics.SPILLED.labels("lost").inc()
            return
        self._spill.parent.mkdir(parents=True, exist_ok=True)
        with self._spill.open("ab") as file:
            file.write(payload + b"\n")
        self._spilled += 1
        metrics.SPILLED.labels("kept").inc()

    async def follow_spill(self) -> None:
        """Append what was spilled as soon as Redis takes it, until cancelled."""
        while True:
            await asyncio.sleep(SPILL_SECONDS)
            if self._spilled:
                with contextlib.suppress(UnreachableError):
                    await self._drain_spill()

    async def _drain_spill(self) -> None:
        await self._guard("ping", self._redis.ping(), SPILL_SECONDS)
        draining = self._spill.with_suffix(".draining")
        if not draining.exists():
            self._spill.rename(draining)  # what is spilled meanwhile goes to a new file
        lines = draining.read_bytes().splitlines()
        for start in range(0, len(lines), SPILL_BATCH):
            by_partition: dict[int, list[stream.Message]] = {}
            for line in lines[start : start + SPILL_BATCH]:
                fields = msgspec.json.decode(line)
                partition = stream.partition_of(fields["customer"], self._settings.partitions)
                by_partition.setdefault(partition, []).append(stream.Message(fields["messageId"], line))
            for partition, messages in by_partition.items():
                # Appending twice after a crash is harmless: the decision's id deduplicates.
                await self.append(partition, messages, SPILL_SECONDS)
        draining.unlink()
        self._spilled = _count_lines(self._spill)
        metrics.SPILLED.labels("appended").inc(len(lines))
        log.info("%d decisions made while Redis was away are appended", len(lines))

    async def close(self) -> None:
        await self._redis.aclose()


def _answer_key(partition: int, decision_id: str) -> str:
    return f"kairos:{{{partition}}}:answer:{digest(decision_id):x}:{len(decision_id)}"


def _count_lines(path: Any) -> int:
    total = 0
    for candidate in (path, path.with_suffix(".draining")):
        if candidate.exists():
            with candidate.open("rb") as file:
                total += sum(1 for _ in file)
    return total
