"""One client with a plain blocking socket: the least that a client can add to a latency, and the targets in turn."""

from __future__ import annotations

import contextlib
import socket
import time

from tests.benchmarks import wire
from tests.benchmarks.flowing import judge, requests
from tests.benchmarks.plan import Alternating, Sample

TIMEOUT_SECONDS = 30.0


def dial(url: str) -> socket.socket:
    connection = socket.create_connection(wire.address(url), timeout=TIMEOUT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, request: bytes) -> tuple[int, bytes]:
    """One request and its whole answer; OSError when the connection ends before it."""
    connection.sendall(request)
    received = b""
    while (answer := wire.split(received)) is None:
        data = connection.recv(262_144)
        if not data:
            raise ConnectionError("closed by the server")
        received += data
    return answer


def alternate(plan: Alternating) -> list[Sample]:
    """A new connection a block, so that all of a server's processes get their share."""
    samples = [Sample(name=turn.target.name) for turn in plan.turns]
    bodies = [requests(turn.target) for turn in plan.turns]
    sent = [0] * len(samples)
    end = time.perf_counter() + plan.seconds
    for _ in range(plan.rounds):
        if time.perf_counter() > end:
            break
        for place, turn in enumerate(plan.turns):
            sample = samples[place]
            with contextlib.closing(dial(turn.target.url)) as connection:
                for number in range(turn.warm + turn.block):
                    request = bodies[place][sent[place] % len(bodies[place])]
                    sent[place] += 1
                    start = time.perf_counter()
                    status, body = ask(connection, request)
                    took = time.perf_counter() - start
                    if number >= turn.warm:
                        judge(sample, turn.target, status, body)
                    if number >= turn.warm and 200 <= status < 300:
                        sample.latencies.append(took * 1000)
                        sample.seconds += took
    return samples
