"""Events at full strength: how many go through one worker, and how old one is for a decision, in calm and behind a
backlog.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from redis import Redis

from features import stream
from features.stream import parse_token
from tests.benchmarks import shop, workload
from tests.benchmarks.canary import as_of
from tests.benchmarks.figures import Bar, Row, Section, summarise
from tests.benchmarks.load import measure
from tests.benchmarks.plan import Flow, Freshness, Sample, Saturating, Target

if TYPE_CHECKING:
    from tests.benchmarks.stage import Stage

BATCH = 250
SENDERS = 4
MOST_A_SECOND = 80_000
"""So many events are prepared for each second of intake: an id that comes twice would not count."""
LIVE_PER_SECOND, LIVE_BATCH = 1_000, 10
BACKLOG = 100_000
PATIENCE_SECONDS = 300.0


class Watch:
    """How far the worker is, looked at from beside."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._partitions = range(sum(1 for number in range(64) if redis.exists(stream.last_key(number))))
        self.began = self.ended = 0.0

    def _read(self, keys: list[str]) -> list[int]:
        found: Any = self._redis.mget(keys)
        return [int(value or 0) for value in found]

    def lasts(self) -> list[int]:
        return self._read([stream.last_key(number) for number in self._partitions])

    def is_behind(self) -> bool:
        lasts = self.lasts()
        return any(
            a < b for a, b in zip(self._read([stream.cursor_key(n) for n in self._partitions]), lasts, strict=True)
        )

    def await_first(self, since: list[int]) -> None:
        """Note when the first event comes in."""
        while self.lasts() == since and not self.ended:
            time.sleep(0.002)
        self.began = time.perf_counter()

    def settle(self) -> float:
        """Wait until all that came is in the features -> seconds since the first."""
        give_up = time.perf_counter() + PATIENCE_SECONDS
        while self.is_behind():
            if time.perf_counter() > give_up:
                raise RuntimeError("the worker does not catch up")
            time.sleep(0.005)
        self.ended = time.perf_counter()
        return self.ended - self.began


def batches(count: int, size: int, series: str) -> list[str]:
    """Bodies for `/v1/batch`, each event with a message id of its own."""
    draw = random.Random(f"{workload.SEED}-{series}")
    return [
        json.dumps(
            {
                "batch": [
                    shop.event(workload.customer(draw.randrange(workload.CUSTOMERS)), f"{series}-{start + at}", draw)
                    for at in range(size)
                ]
            }
        )
        for start in range(0, count, size)
    ]


def events(on: Stage, seconds: float) -> Section:
    """Intake, freshness at 1,000 events/s, and freshness behind a backlog."""
    if on.kairos is None:
        raise RuntimeError("this measurement is of Kairos, which was not started")
    with Redis.from_url(on.environment["BENCH_REDIS_URL"]) as redis:
        parts = [intake(on.kairos.url, redis, seconds), live(on.kairos.url, seconds), behind(on.kairos.url, redis)]
    method = (
        f"{SENDERS} clients with batches of {BATCH} until all of it is in the features; {LIVE_PER_SECOND} events/s in "
        f"batches of {LIVE_BATCH} and canaries beside; {BACKLOG:,} events that came while the worker stood still, and "
        "canaries from when it goes on"
    )
    rows = [row for some, _ in parts for row in some]
    return Section(title="events", method=method, rows=rows, bars=[bar for _, bars in parts for bar in bars])


def intake(url: str, redis: Redis, seconds: float) -> tuple[list[Row], list[Bar]]:
    """Events a second from the senders' first to the worker's last."""
    bodies = batches(int(seconds * MOST_A_SECOND), BATCH, f"intake-{time.time_ns()}")
    target = Target(name="intake: batches", url=url, path="/v1/batch", bodies=bodies)
    watch = Watch(redis)
    beside = threading.Thread(target=watch.await_first, args=(watch.lasts(),))
    beside.start()
    outcome = measure(Saturating(target=target, clients=SENDERS, seconds=seconds, warm_seconds=0.0))
    took = watch.settle()
    beside.join()
    [sample] = outcome.samples
    if sample.answered > len(bodies):
        raise RuntimeError("too few events were prepared: some were sent twice")
    # A batch that was on its way at the end was taken without an answer: it is not counted.
    rate = sample.answered * BATCH / took
    note = f"{sample.answered * BATCH:,} events in {took:.1f} s; load: {outcome.cpu_share:.0%} of a core"
    row = summarise("intake", [sample], note)
    return [row], [
        Bar(name="events/s into features, one worker", measured=rate, limit=5000, side="at least", unit="/s")
    ]


def live(url: str, seconds: float) -> tuple[list[Row], list[Bar]]:
    """Event to decision while 1,000 events/s flow."""
    per_second = LIVE_PER_SECOND / LIVE_BATCH
    series = f"live-{time.time_ns()}"
    bodies = batches(int(LIVE_PER_SECOND * (seconds + 4)), LIVE_BATCH, series)
    flow = Flow(target=Target(name="batches", url=url, path="/v1/batch", bodies=bodies), per_second=per_second)
    tracked, decided = shop.canaries(workload.CUSTOMERS, f"{series}-canary")
    plan = Freshness(
        flow=flow,
        track=Target(name="track", url=url, path="/v1/track", bodies=tracked),
        decide=Target(name="decide", url=url, path="/v1/decisions", bodies=decided),
        seconds=seconds,
        with_token=False,
    )
    rows = [summarise(f"{LIVE_PER_SECOND} events/s", [sample]) for sample in measure(plan).samples]
    name = f"event to decision at {LIVE_PER_SECOND:,} events/s"
    return rows, [
        Bar(name=f"{name}, p50", measured=rows[0].p50, limit=10, side="at most", unit="ms"),
        Bar(name=f"{name}, p99", measured=rows[0].p99, limit=100, side="at most", unit="ms"),
    ]


def behind(url: str, redis: Redis) -> tuple[list[Row], list[Bar]]:
    """Event to decision while the worker works off what came when it stood still."""
    worker = find_worker(redis)
    watch = Watch(redis)
    os.kill(worker, signal.SIGSTOP)
    try:
        for body in batches(BACKLOG, BATCH, f"backlog-{time.time_ns()}"):
            shop.send(f"{url}/v1/batch", json.loads(body))
    finally:
        os.kill(worker, signal.SIGCONT)
    watch.began = time.perf_counter()
    sample = Sample(name="behind a backlog")
    tracked, decided = shop.canaries(1000, f"backlog-canary-{time.time_ns()}")
    for track, decide in zip(tracked, decided, strict=True):
        sample.latencies.append(1000 * see(url, json.loads(track), json.loads(decide)))
        if not watch.is_behind():
            break
    sample.seconds = watch.settle()
    row = summarise("backlog", [sample], f"worked off in {sample.seconds:.1f} s")
    return [row], [
        Bar(
            name="event to decision behind 100,000",
            measured=max(sample.latencies),
            limit=1000,
            side="at most",
            unit="ms",
        )
    ]


def see(url: str, track: dict[str, Any], decide: dict[str, Any]) -> float:
    """Seconds from the acknowledgement of an event to the first decision that knows it."""
    token = shop.send(f"{url}/v1/track", track)["token"]
    acknowledged = time.perf_counter()
    while as_of(json.dumps(shop.send(f"{url}/v1/decisions", decide)).encode()) < parse_token(token)[1]:
        if time.perf_counter() > acknowledged + PATIENCE_SECONDS:
            raise RuntimeError("an event never came into the features")
        time.sleep(0.02)
    return time.perf_counter() - acknowledged


def find_worker(redis: Redis) -> int:
    """Process id of the worker that has the first partition."""
    found: Any = redis.get(stream.lease_key(0))
    return int(found.decode().rsplit("-", 2)[1])
