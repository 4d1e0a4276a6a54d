"""Redis is stopped for a while (SIGSTOP) under 200 decisions/s: all are answered in time, soon after by the model."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from redis import Redis

from tests.benchmarks.figures import Bar, Section, percentile, summarise
from tests.benchmarks.load import measure
from tests.benchmarks.plan import Flow, OpenLoop, Sample

if TYPE_CHECKING:
    from tests.benchmarks.plan import Outcome
    from tests.benchmarks.stage import Stage

PER_SECOND = 200
DEADLINE_MS, SPARE_MS = 50, 5
BEFORE_SECONDS, AFTER_SECONDS = 8.0, 8.0
"""The first with the start of the load process."""
IN_A_ROW = 20
"""So many answers by the model, one after the other, and it is back."""
BACK_SECONDS = 2.0

Noted = list[tuple[float, float, bool]]


def outage(on: Stage, seconds: float) -> Section:
    """Every answer 200, p99 within the deadline and 5 ms, the model back within 2 s."""
    target = next(each for each in on.targets(deadline_ms=DEADLINE_MS) if each.name == "kairos")
    flow = Flow(target=target, per_second=PER_SECOND, noted=True)
    plan = OpenLoop(flows=[flow], seconds=BEFORE_SECONDS + seconds + AFTER_SECONDS)
    with Redis.from_url(on.environment["BENCH_REDIS_URL"]) as redis:
        told: Any = redis.info("server")
    with ThreadPoolExecutor(1) as pool:
        measured = pool.submit(measure, plan)
        time.sleep(BEFORE_SECONDS)
        stopped, continued = _stop(int(told["process_id"]), seconds)
        return _tell(measured.result(), seconds, stopped, continued)


def _stop(process: int, seconds: float) -> tuple[float, float]:
    """(when it was stopped, when it went on), by time.perf_counter(), which all processes of a machine share."""
    os.kill(process, signal.SIGSTOP)
    try:
        stopped = time.perf_counter()
        time.sleep(seconds)
    finally:
        os.kill(process, signal.SIGCONT)
    return stopped, time.perf_counter()


def _tell(outcome: Outcome, seconds: float, stopped: float, continued: float) -> Section:
    [sample] = outcome.samples
    noted = sorted(sample.noted)
    parts = {
        "before": [one for one in noted if one[0] < stopped],
        "while Redis is stopped": [one for one in noted if stopped <= one[0] < continued],
        "afterwards": [one for one in noted if one[0] >= continued],
    }
    rows = [summarise("outage", [_sample(name, part)], _by_model(part)) for name, part in parts.items()]
    failed = sum(count for reason, count in sample.failures.items() if reason != "unexpected")
    lasts = percentile([taken for _, taken, _ in parts["while Redis is stopped"]], 99)
    limit = DEADLINE_MS + SPARE_MS
    bars = [
        Bar(name="answers that are not 200", measured=failed, limit=0, side="at most", unit=""),
        Bar(name="decision while Redis is stopped, p99", measured=lasts, limit=limit, side="at most", unit="ms"),
        Bar(
            name="until decisions are the model's again",
            measured=_back(parts["afterwards"], continued),
            limit=BACK_SECONDS,
            side="at most",
            unit="s",
        ),
    ]
    failures = ", ".join(f"{count} {reason}" for reason, count in sample.failures.items() if reason != "unexpected")
    method = (
        f"open loop, {PER_SECOND} decisions/s with a deadline of {DEADLINE_MS} ms; Redis has SIGSTOP for {seconds:g} s"
    )
    return Section(title="outage", method=f"{method}; {failures}" if failures else method, rows=rows, bars=bars)


def _sample(name: str, noted: Noted) -> Sample:
    seconds = noted[-1][0] - noted[0][0] if len(noted) > 1 else 0.0
    return Sample(name=name, latencies=[taken for _, taken, _ in noted], seconds=seconds)


def _by_model(noted: Noted) -> str:
    slowest = max((taken for _, taken, _ in noted), default=float("nan"))
    share = sum(expected for *_, expected in noted) / max(1, len(noted))
    return f"{share:.1%} by the model, slowest {slowest:.0f} ms"


def _back(noted: Noted, continued: float) -> float:
    """Seconds from then to the first of IN_A_ROW answers by the model; infinite without."""
    by_model = [expected for *_, expected in noted]
    for at in range(len(noted) - IN_A_ROW + 1):
        if all(by_model[at : at + IN_A_ROW]):
            start, taken, _ = noted[at]
            return start + taken / 1000 - continued
    return float("inf")
