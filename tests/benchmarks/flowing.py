"""Load from many connections: at a constant rate whatever the answers do, or as fast as they come (saturating)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from tests.benchmarks import wire
from tests.benchmarks.connection import Connection, connect
from tests.benchmarks.plan import Flow, OpenLoop, Sample, Saturating, Target

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE_SECONDS = 5.0
"""How long answers may stay out after the last request; what is missing then is a failure."""


def requests(target: Target) -> list[bytes]:
    return [wire.encode(target.path, body) for body in target.bodies] or [wire.encode(target.path, None)]


def judge(sample: Sample, target: Target, status: int, body: bytes) -> None:
    """Count what is not as it should be."""
    if not 200 <= status < 300:
        fail(sample, str(status) if status else "connection lost", body)
    elif target.expected.encode() not in body:
        fail(sample, "unexpected", body)


def fail(sample: Sample, reason: str, body: bytes) -> None:
    sample.failures[reason] = sample.failures.get(reason, 0) + 1
    sample.first_failure = sample.first_failure or body[:300].decode(errors="replace")


class Stream:
    """One flow on its way. Requests whose intended start lies before `counts_from` warm up and are not counted."""

    def __init__(self, flow: Flow, counts_from: float) -> None:
        self.sample = Sample(name=flow.target.name)
        self.requests = requests(flow.target)
        self.flow, self.counts_from = flow, counts_from
        self.idle: deque[Connection] = deque()
        self.waiting: deque[tuple[int, float]] = deque()
        self.out = 0
        self.reopening: set[asyncio.Task[object]] = set()

    async def open(self) -> None:
        self.idle.extend(await connect(self.flow.target.url, self.flow.connections, self.answered))

    def fire(self, index: int, intended: float) -> None:
        self.out += 1
        if intended >= self.counts_from:
            self.sample.lateness.append((time.perf_counter() - intended) * 1000)
        if self.idle:
            self.send(self.idle.popleft(), index, intended)
        else:
            self.waiting.append((index, intended))

    def send(self, connection: Connection, index: int, intended: float) -> None:
        connection.send(self.requests[index % len(self.requests)], intended)

    def answered(self, connection: Connection, status: int, body: bytes) -> None:
        self.out -= 1
        if connection.intended >= self.counts_from:
            if 200 <= status < 300:
                self.sample.latencies.append((time.perf_counter() - connection.intended) * 1000)
            judge(self.sample, self.flow.target, status, body)
        if self.flow.noted:
            taken = (time.perf_counter() - connection.intended) * 1000
            expected = status == 200 and self.flow.target.expected.encode() in body
            self.sample.noted.append((connection.intended, taken, expected))
        if status == 0:
            task = asyncio.ensure_future(self.reopen(connection))
            self.reopening.add(task)
            task.add_done_callback(self.reopening.discard)
        else:
            self.free(connection)

    async def reopen(self, connection: Connection) -> None:
        host, port = wire.address(self.flow.target.url)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, host, port)
        except OSError:
            await asyncio.sleep(0.1)
        self.free(connection)

    def free(self, connection: Connection) -> None:
        if self.waiting:
            self.send(connection, *self.waiting.popleft())
        else:
            self.idle.append(connection)

    def close(self) -> None:
        if self.out:
            self.sample.failures["no answer"] = self.out
        for connection in self.idle:
            connection.close()


def tick(
    loop: asyncio.AbstractEventLoop, fire: Callable[[int, float], None], start: float, step: float, count: int
) -> None:
    """The metronome, in a thread: the event loop's own timers are only good to a millisecond."""
    for index in range(count):
        intended = start + index * step
        pause = intended - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        loop.call_soon_threadsafe(fire, index, intended)


async def keep(flows: list[Flow], seconds: float, warm_seconds: float) -> list[Stream]:
    """Runs the flows to their end and closes them."""
    sys.setswitchinterval(0.0005)  # so that the metronome does not wait behind the loop's Python
    loop = asyncio.get_running_loop()
    start = time.perf_counter() + 0.05
    streams = [Stream(flow, start + warm_seconds) for flow in flows]
    for stream in streams:
        await stream.open()
    delay = max(0.0, time.perf_counter() + 0.05 - start)
    metronomes = []
    for number, stream in enumerate(streams):
        stream.counts_from += delay
        step = 1 / stream.flow.per_second
        first = start + delay + step * number / len(streams)  # flows interleave and do not beat together
        count = int((warm_seconds + seconds) * stream.flow.per_second)
        metronomes.append(asyncio.to_thread(tick, loop, stream.fire, first, step, count))
    await asyncio.gather(*metronomes)
    for _ in range(round(GRACE_SECONDS / 0.01)):
        if any(stream.out for stream in streams):
            await asyncio.sleep(0.01)
    for stream in streams:
        stream.close()
    return streams


async def flow(plan: OpenLoop) -> list[Sample]:
    streams = await keep(plan.flows, plan.seconds, plan.warm_seconds)
    for stream in streams:
        stream.sample.seconds = plan.seconds
    return [stream.sample for stream in streams]


async def saturate(plan: Saturating) -> list[Sample]:
    sample = Sample(name=plan.target.name, seconds=plan.seconds)
    bodies = requests(plan.target)
    start = time.perf_counter() + plan.warm_seconds
    end = start + plan.seconds
    sent = 0

    def send(connection: Connection) -> None:
        nonlocal sent
        connection.send(bodies[sent % len(bodies)], time.perf_counter())
        sent += 1

    def answered(connection: Connection, status: int, body: bytes) -> None:
        now = time.perf_counter()
        sample.answered += 1
        if start <= now < end:
            if 200 <= status < 300:
                sample.latencies.append((now - connection.intended) * 1000)
            judge(sample, plan.target, status, body)
        if now < end and status:
            send(connection)

    connections = await connect(plan.target.url, plan.clients, answered)
    for connection in connections:
        send(connection)
    await asyncio.sleep(end - time.perf_counter() + 0.05)
    for connection in connections:
        connection.close()
    return [sample]
