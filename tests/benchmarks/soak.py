"""Minutes of decisions and events with two API processes and two workers, one of which is killed every 20 seconds; in
the end all that was acknowledged is compared with the oracle.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
from redis import Redis

from features import archive
from features.events.schema import Alias, Event, Identify, Page, Track, decode
from features.home import Home
from tests.benchmarks import processes, shop, workload
from tests.benchmarks.events import find_worker
from tests.benchmarks.figures import Bar, Section, summarise
from tests.benchmarks.plan import Sample
from tests.e2e import turmoil

if TYPE_CHECKING:
    from tests.benchmarks.stage import Stage

KILL_SECONDS = 20.0
BATCH, BATCHES_A_SECOND = 25, 12
DECISIONS_A_SECOND = 30


def soak(on: Stage, seconds: float) -> Section:
    """Zero lost, zero doubled, zero out of order; features and candidates as the oracle's."""
    if on.kairos is None:
        raise RuntimeError("this measurement is of Kairos, which was not started")
    home, url = Home(on.folder / "home"), on.kairos.url
    events = turmoil.crowd(time.time_ns(), int(seconds * BATCH * BATCHES_A_SECOND))
    over = threading.Event()
    sent, decided = Sample(name="batches", seconds=seconds), Sample(name="decisions", seconds=seconds)
    command = [sys.executable, "-m", "kairos", "worker", "--home", str(home.root)]
    with (
        Redis.from_url(on.environment["BENCH_REDIS_URL"]) as redis,
        processes.running(command, on.folder / "second-worker.log", {}, lambda: True),
    ):
        loads = [
            threading.Thread(target=send, args=(url, events, sent)),
            threading.Thread(target=decide, args=(url, over, decided)),
        ]
        for load in loads:
            load.start()
        killed = 0
        while loads[0].is_alive():
            loads[0].join(KILL_SECONDS)
            if loads[0].is_alive():
                os.kill(find_worker(redis), signal.SIGKILL)
                killed += 1
        over.set()
        loads[1].join()
        turmoil.await_end(redis)
        wrong = compare(home, redis, on.environment["BENCH_REDIS_URL"], events)
    rows = [
        summarise("soak", [sent], f"{len(events):,} events, a worker killed {killed} times; {' | '.join(wrong)}"),
        summarise("soak", [decided]),
    ]
    method = f"{seconds / 60:.1f} minutes, {on.workers} API processes, 2 workers, one of them killed every 20 s"
    bars = [Bar(name="differences from the oracle", measured=len(wrong), limit=0, side="at most", unit="")]
    return Section(title="soak", method=method, rows=rows, bars=bars)


def body(event: Event) -> dict[str, Any]:
    """As a client sends it; it happens when it comes."""
    said: dict[str, Any] = {"type": str(event.__struct_config__.tag), "messageId": event.message_id}
    if isinstance(event, Alias):
        return said | {"previousId": event.previous_id, "userId": event.user_id}
    if isinstance(event, Identify) and event.anonymous_id:
        return said | {"anonymousId": event.anonymous_id, "userId": event.user_id, "traits": event.traits}
    said["anonymousId"] = event.customer or "nobody"
    if isinstance(event, Track):
        said["event"] = event.event
    return said | ({"properties": event.properties} if isinstance(event, (Track, Page)) else {})


def send(url: str, events: list[Event], sample: Sample) -> None:
    """All events in order, in batches at a constant rate; what is not acknowledged is sent again."""
    began = time.perf_counter()
    for number, start in enumerate(range(0, len(events), BATCH)):
        time.sleep(max(began + number / BATCHES_A_SECOND - time.perf_counter(), 0.0))
        batch = {"batch": [body(event) for event in events[start : start + BATCH]]}
        asked = time.perf_counter()
        while True:
            try:
                shop.send(f"{url}/v1/batch", batch)
                break
            except OSError as error:
                sample.failures[str(error)] = sample.failures.get(str(error), 0) + 1
                time.sleep(0.1)
        sample.latencies.append(1000 * (time.perf_counter() - asked))


def decide(url: str, over: threading.Event, sample: Sample) -> None:
    draw = random.Random(1)
    while not over.wait(1 / DECISIONS_A_SECOND):
        asked = time.perf_counter()
        try:
            shop.send(f"{url}/v1/decisions", json.loads(workload.decision(draw.choice(turmoil.IDS))))
            sample.latencies.append(1000 * (time.perf_counter() - asked))
        except OSError as error:
            sample.failures[str(error)] = sample.failures.get(str(error), 0) + 1


def compare(home: Home, redis: Redis, redis_url: str, events: list[Event]) -> list[str]:
    """What is wrong. When events happened, and by which name they are known, is as the archive has it."""
    wrong = turmoil.find_wrong_files(home, events)
    names = {event.message_id for event in events}
    kept = [decode(payload) for payload in archive.read(home.archive, ["payload"])["payload"].to_pylist()]
    taken = [
        msgspec.structs.replace(event, customer=event.via[0][0]) if event.via else event
        for event in kept
        if event.message_id in names
    ]
    at = turmoil.now() / 1e6
    wrong += turmoil.find_wrong_customers(home, redis_url, taken, at)
    return wrong + turmoil.find_wrong_candidates(redis, kept, at)  # what others did before counts there too
