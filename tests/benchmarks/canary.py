"""Freshness as a visitor feels it: from the acknowledgement of an event to the end of the first decision that knows it.

A canary customer sends one event, then asks again and again, or once with `after`, while other customers' events flow.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

import msgspec

from features.stream import parse_token
from tests.benchmarks import wire
from tests.benchmarks.connection import Connection, connect
from tests.benchmarks.flowing import fail, keep
from tests.benchmarks.plan import Freshness, Sample

GIVE_UP_SECONDS = 5.0
"""A canary unseen for so long is a failure `unseen`."""


class Caller:
    """One connection whose answers are awaited."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self.connection: Connection | None = None

    async def open(self, url: str) -> None:
        self.connection = (await connect(url, 1, self.answered))[0]

    def answered(self, _: Connection, status: int, body: bytes) -> None:
        if self.waiting and not self.waiting.done():
            self.waiting.set_result((status, body))

    async def ask(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        if self.connection is None:
            raise RuntimeError("open the caller first")
        self.waiting = asyncio.get_running_loop().create_future()
        self.connection.send(wire.encode(path, msgspec.json.encode(body).decode()), 0.0)
        return await self.waiting


def as_of(answer: bytes) -> int:
    """When the newest event in a decision's features arrived, microseconds; 0 for a customer without any."""
    text = msgspec.json.decode(answer).get("features_as_of")
    return round(datetime.fromisoformat(text).timestamp() * 1e6) if text else 0


async def observe(plan: Freshness, caller: Caller, number: int, sample: Sample) -> None:
    """One canary: its event, then decisions until one says that its features are as of that event or later."""
    track = msgspec.json.decode(plan.track.bodies[number % len(plan.track.bodies)])
    decide = msgspec.json.decode(plan.decide.bodies[number % len(plan.decide.bodies)])
    status, body = await caller.ask(plan.track.path, track)
    acknowledged = time.perf_counter()
    if status != 200:
        return fail(sample, str(status), body)
    token = msgspec.json.decode(body)["token"]
    arrival = max(parse_token(part)[1] for part in token.split(","))
    if plan.with_token:
        decide |= {"after": token, "deadline_ms": 2000}
    while time.perf_counter() < acknowledged + GIVE_UP_SECONDS:
        status, body = await caller.ask(plan.decide.path, decide)
        if status != 200:
            return fail(sample, str(status), body)
        if as_of(body) >= arrival:
            sample.latencies.append((time.perf_counter() - acknowledged) * 1000)
            return None
    return fail(sample, "unseen", body)


async def watch(plan: Freshness) -> list[Sample]:
    """The canaries' times and, beside them, the flow's own."""
    sample = Sample(name="with `after`" if plan.with_token else "asking again", seconds=plan.seconds)
    caller = Caller()
    await caller.open(plan.decide.url)
    flowing = asyncio.create_task(keep([plan.flow], plan.seconds + 1, 0.0))
    await asyncio.sleep(1)
    end = time.perf_counter() + plan.seconds
    number = 0
    while time.perf_counter() < end:
        await observe(plan, caller, number, sample)
        number += 1
        await asyncio.sleep(plan.pause)
    stream = (await flowing)[0]
    stream.sample.seconds = plan.seconds + 1
    return [sample, stream.sample]
