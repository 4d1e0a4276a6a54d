"""The decision path's way to Redis, guarded: reads and writes under a deadline, and left alone while it is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec
from redis import RedisError

from features import ledger, stream
from features.ids import digest
from features.store import Known, OnlineStore
from service import metrics
from service.decisions.breaker import Breaker
from service.decisions.lag import Lag
from service.decisions.shared import Shared
from service.decisions.spill import Spill, sort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.aggregates.rows import Row
    from features.connection import Command, Script
    from features.settings import Settings
    from features.stream import Message

log = logging.getLogger(__name__)

ANSWERS_KEPT_SECONDS = 15 * 60
TELLING_SECONDS = 0.02
"""Waiting less than this in vain is the request's own impatience, and no failure of Redis."""
LEAST_SECONDS = 0.01
APPEND_SECONDS = 1.0


RESERVE_AND_APPEND = ledger.RESERVE.then(stream.APPEND, "answer[1] == 1")


class UnreachableError(Exception):
    """Redis did not answer in time, or at all."""


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer kept for retries, with a fingerprint of what was asked."""

    asked: int
    body: bytes


class DecisionStore:
    """Redis as decisions and intake use it; one per process."""

    def __init__(self, settings: Settings, redis_url: str) -> None:
        self._partitions = settings.partitions
        self._online = OnlineStore(settings.home, redis_url)
        self._line = self._online.line
        self._decisions, self._intake = Breaker("decisions"), Breaker("event intake")
        self.shared, self.lag = Shared(), Lag()
        self.spill = Spill(settings.home.spill, settings.spill_decisions)

    async def _guard(self, breaker: Breaker, operation: str, work: Any, seconds: float) -> Any:
        """Await `work`, which takes at most `seconds`.

        Raises UnreachableError, at once if the breaker lets nothing through.
        """
        if seconds <= 0 or not breaker.lets_through():
            work.close()
            raise UnreachableError(operation)
        try:
            result = await work
        except (RedisError, OSError, TimeoutError) as error:
            metrics.STORE_ERRORS.labels(operation).inc()
            if seconds >= TELLING_SECONDS or not isinstance(error, TimeoutError):
                breaker.note_failure(error)
            raise UnreachableError(operation) from error
        breaker.note_success()
        return result

    async def ask(self, commands: Sequence[Command], seconds: float) -> list[Any]:
        """The answers of Redis to commands, for what is no part of a decision. Raises UnreachableError."""
        answers: list[Any] = await self._decide("read", self._line.ask_all(commands, seconds), seconds)
        return answers

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any], seconds: float) -> Any:
        """The answer of a script. Raises UnreachableError."""
        return await self._decide("script", self._line.run(script, keys, arguments, seconds), seconds)

    async def _decide(self, operation: str, work: Any, seconds: float) -> Any:
        return await self._guard(self._decisions, operation, work, seconds)

    async def read_customers(
        self, customers: Sequence[str], seconds: float, tracked: bool = True, beside: Sequence[Command] = ()
    ) -> tuple[list[Known], list[Any]]:
        """What is known of each id, up to its newest event; and the answers to `beside`. Raises UnreachableError.

        `tracked`: whether the events of who said nothing count.
        """
        reading = self._online.read_newest(customers, self._partitions, tracked, beside, seconds)
        found: tuple[list[Known], list[Any]] = await self._decide("read", reading, seconds)
        return found

    async def read_answer(self, partition: int, decision_id: str, seconds: float) -> StoredAnswer | None:
        """What was answered to this id before. Raises UnreachableError."""
        asking = self._line.ask("GET", answer_key(partition, decision_id), seconds=seconds)
        found = await self._decide("read", asking, seconds)
        return None if found is None else msgspec.msgpack.decode(found, type=StoredAnswer)

    async def wait_for(self, tokens: Sequence[tuple[int, int]], seconds: float) -> bool:
        """Wait until the features hold the events of these tokens, or the time is over.

        Whether any of them may have led to events for other ids. Raises UnreachableError.
        """
        deadline = time.monotonic() + seconds
        keys = [key(partition) for partition, _ in tokens for key in (stream.cursor_key, stream.handed_key)]
        pause = 0.001
        while (left := deadline - time.monotonic()) > 0:
            patience = max(left, LEAST_SECONDS)
            found = await self._decide("read", self._line.ask("MGET", *keys, seconds=patience), patience)
            cursors, handed = ([int(value or 0) for value in found[at::2]] for at in (0, 1))
            if all(cursor >= arrival for cursor, (_, arrival) in zip(cursors, tokens, strict=True)):
                return any(last >= arrival for last, (_, arrival) in zip(handed, tokens, strict=True))
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.01)
        return False

    async def last_arrival(self, partition: int, seconds: float) -> tuple[int, int]:
        """The token of the partition's last event. Raises UnreachableError."""
        asking = self._line.ask("GET", stream.last_key(partition), seconds=seconds)
        last = await self._decide("read", asking, seconds)
        return partition, int(last or 0)

    async def find_seen(self, partition: int, message_ids: Sequence[str], seconds: float) -> tuple[set[str], int]:
        """(those of the message ids that were appended before, arrival of the last event). Raises UnreachableError."""
        ids = [stream.dedup_id(text) for text in message_ids]
        commands = [("SMISMEMBER", key, *ids) for key in stream.seen_keys(partition, time.time())]
        asking = self._line.ask_all([*commands, ("GET", stream.last_key(partition))], seconds)
        *answers, last = await self._decide("read", asking, seconds)
        seen = {text for text, found in zip(message_ids, zip(*answers, strict=True), strict=True) if any(found)}
        return seen, int(last or 0)

    async def append(self, partition: int, messages: Sequence[Message], seconds: float) -> list[int]:
        """Append events -> arrivals, 0 for duplicates. Raises UnreachableError."""
        return await self._append_events(self._intake, partition, messages, seconds)

    async def append_decision(
        self, partition: int, messages: Sequence[Message], seconds: float, ours: bool = False
    ) -> None:
        """Append a decision and its inline events. Raises UnreachableError.

        `ours`: all ids were made for this request, so that only its own retry could bring them again.
        """
        hours = 1 if ours else stream.DEDUPLICATED_HOURS
        await self._append_events(self._decisions, partition, messages, seconds, hours)

    async def _append_events(
        self,
        breaker: Breaker,
        partition: int,
        messages: Sequence[Message],
        seconds: float,
        hours: int = stream.DEDUPLICATED_HOURS,
    ) -> list[int]:
        keys, arguments = stream.append_arguments(partition, messages, time.time(), hours)
        appending = self._line.run(stream.APPEND, keys, arguments, seconds)
        arrivals: list[int] = await self._guard(breaker, "append", appending, seconds)
        return arrivals

    async def reserve_and_append(
        self, keys: Sequence[str], arguments: Sequence[str], partition: int, message: Message, seconds: float
    ) -> Sequence[Any]:
        """The ledger's answer to a reservation; a decision with an id of ours is appended if that was granted.

        Raises UnreachableError; then both may have been done all the same.
        """
        behind, appended = stream.append_arguments(partition, [message], time.time(), hours=1)
        own = [len(keys), len(arguments), *arguments]
        answered = await self.run(RESERVE_AND_APPEND, [*keys, *behind], [*own, *appended], seconds)
        reserved: Sequence[Any] = answered[0]
        return reserved

    async def append_once(
        self,
        partition: int,
        messages: Sequence[Message],
        asked: tuple[int, str],
        mine: StoredAnswer,
        seconds: float,
    ) -> StoredAnswer:
        """Append a decision and keep its answer for retries; gives the answer that is kept.

        That is another one if the same id was decided at the same time elsewhere; `asked` is the partition of the
        request's id, and the decision's id. Raises UnreachableError.
        """
        keys, arguments = stream.append_arguments(partition, messages, time.time())
        answer = answer_key(*asked)
        commands = [
            ("MULTI",),
            ("EVAL", stream.APPEND.text, len(keys), *keys, *arguments),
            ("SET", answer, msgspec.msgpack.encode(mine), "EX", ANSWERS_KEPT_SECONDS, "NX"),
            ("GET", answer),
            ("EXEC",),
        ]
        results = await self._decide("append", self._line.ask_all(commands, seconds), seconds)
        return msgspec.msgpack.decode(results[-1][-1], type=StoredAnswer)

    def load_customer(self, customer: str) -> Row:
        """The customer's live states; waits for it. Raises redis.RedisError."""
        return self._online.load_customers([customer])[customer]

    async def append_spilled(self) -> None:
        """Append what was spilled, if Redis takes it."""
        if self.spill.waiting():
            with contextlib.suppress(UnreachableError):
                await self._decide("ping", self._line.ask("PING", seconds=APPEND_SECONDS), APPEND_SECONDS)
                await self.spill.drain(self._append_lines)

    async def _append_lines(self, lines: list[bytes]) -> None:
        for partition, messages in sort(lines, self._partitions).items():
            await self.append(partition, messages, APPEND_SECONDS)

    async def close(self) -> None:
        self.spill.close()
        await self._online.close()


def answer_key(partition: int, decision_id: str) -> str:
    return f"kairos:{{{partition}}}:answer:{digest(decision_id):x}:{len(decision_id)}"
