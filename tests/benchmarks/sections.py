"""The measurements: each takes the stage and a length in seconds and gives a section of figures with its bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tests.benchmarks import machine, processes, shop, stage, workload
from tests.benchmarks.figures import Bar, Row, Section, summarise
from tests.benchmarks.load import measure
from tests.benchmarks.plan import Alternating, Flow, Freshness, OpenLoop, Sample, Saturating, Target, Turn

if TYPE_CHECKING:
    from tests.benchmarks.stage import Stage

ROUNDS = 1_000_000
"""More than fit: time ends an alternating run."""
CLIENTS = 16
SATURATED_DEADLINE_MS = 1000
DECIDING = ("kairos", "kairos, governed")
"""The same decisions without and with rules, caps, a budget and diversity."""
WIDE = 1000
"""Candidates of a placement: the most that a catalog allows."""


def kairos_url(on: Stage) -> str:
    if on.kairos is None:
        raise RuntimeError("this measurement is of Kairos, which was not started")
    return on.kairos.url


def find(rows: list[Row], subject: str) -> Row | None:
    return next((row for row in rows if row.subject == subject), None)


def floor_parts(on: Stage, seconds: float) -> Section:
    """The parts of the floor, inside a process, without HTTP."""
    count = int(seconds * 200)
    times = msgspec.json.decode(stage.run_program("floor", [str(count)], on.environment), type=dict[str, list[float]])
    samples = [
        Sample(name=f"floor: {name}", latencies=values, seconds=sum(values) / 1000) for name, values in times.items()
    ]
    method = (
        f"HMGET of one packed row; predict of {workload.CANDIDATES} x {workload.FEATURES}, "
        f"{workload.TREES} trees x {workload.LEAVES} leaves, one thread; in turn, one process"
    )
    return Section(title="floor", method=method, rows=[summarise("floor", [sample]) for sample in samples])


def one_client(on: Stage, seconds: float) -> Section:
    """Decision latency at one client, the subjects in turn so that noise hits all alike."""
    turns = [Turn(target=target, block=10 if "rival" in target.name else 50) for target in on.targets()]
    outcome = measure(Alternating(turns=turns, rounds=ROUNDS, seconds=3 * seconds))
    rows = [summarise("one client", [sample]) for sample in outcome.samples]
    bars, rival = [], find(rows, "rival")
    for row in filter(None, (find(rows, name) for name in DECIDING)):
        bars += [
            Bar(name=f"{row.subject}: decision, p50", measured=row.p50, limit=2, side="at most", unit="ms"),
            Bar(name=f"{row.subject}: decision, p99", measured=row.p99, limit=5, side="at most", unit="ms"),
        ]
        if rival:
            ratio = rival.p50 / row.p50
            bars.append(
                Bar(name=f"p50: rival / {row.subject}", measured=ratio, limit=10, side="at least", unit="times")
            )
    method = f"one request at a time, blocks in turn, {workload.CANDIDATES} candidates, {on.workers} API processes each"
    return Section(title="one client", method=method, rows=rows, bars=bars)


def wide(on: Stage, seconds: float) -> Section:
    """Decision latency at one client with ten times as many candidates, free and governed."""
    folder = on.folder / "wide"
    folder.mkdir()
    rows = []
    with shop.open_shop(folder, on.workers, lambda _: None, shop.catalog(WIDE)) as (address, _):
        targets = [
            Target(
                name=f"kairos, {WIDE:,} candidates{label}",
                url=address.url,
                path="/v1/decisions",
                bodies=workload.decisions(placement=placement),
                expected='"rung":"model"',
                process=address.process,
            )
            for label, placement in (("", workload.PLACEMENT), (", governed", workload.GOVERNED))
        ]
        outcome = measure(
            Alternating(turns=[Turn(target=one, block=20) for one in targets], rounds=ROUNDS, seconds=seconds)
        )
        rows = [summarise("wide", [sample]) for sample in outcome.samples]
    bars = [Bar(name=f"{row.subject}, p99", measured=row.p99, limit=15, side="at most", unit="ms") for row in rows]
    return Section(title="wide", method="one request at a time, blocks in turn", rows=rows, bars=bars)


def throughput(on: Stage, seconds: float) -> Section:
    """Decisions a second that saturating clients get, subjects in turn."""
    # Whoever saturates a server waits: under its usual deadline Kairos would answer from a lower rung instead.
    rows = saturate("throughput", on.targets(deadline_ms=SATURATED_DEADLINE_MS), seconds)
    bars, rival = [], find(rows, "rival")
    for row in filter(None, (find(rows, name) for name in DECIDING)):
        rate = row.per_second
        bars.append(Bar(name=f"{row.subject}: decisions/s", measured=rate, limit=1000, side="at least", unit="/s"))
        if rival:
            ratio = rate / rival.per_second
            name = f"decisions/s: {row.subject} / rival"
            bars.append(Bar(name=name, measured=ratio, limit=10, side="at least", unit="times"))
    method = f"{CLIENTS} clients without a pause, {on.workers} API processes each, the load on the same cores"
    return Section(title="throughput", method=method, rows=rows, bars=bars)


def tracks(on: Stage, per_second: float, seconds: float, series: str) -> Flow:
    """Track calls of the shop's customers; enough bodies that no message id comes twice."""
    bodies = shop.events(int(per_second * (seconds + 3)), series)
    return Flow(target=Target(name="track", url=kairos_url(on), path="/v1/track", bodies=bodies), per_second=per_second)


def freshness(on: Stage, seconds: float) -> Section:
    """Event to decision while 300 events/s flow."""
    rows, bars = [], []
    for with_token in (False, True):
        series = f"canary-{with_token}"
        tracked, decided = shop.canaries(workload.CUSTOMERS, series)
        plan = Freshness(
            flow=tracks(on, 300, seconds + 1, f"flow-{with_token}"),
            track=Target(name="track", url=kairos_url(on), path="/v1/track", bodies=tracked),
            decide=Target(name="decide", url=kairos_url(on), path="/v1/decisions", bodies=decided),
            seconds=seconds,
            with_token=with_token,
        )
        rows += [summarise("freshness", [sample]) for sample in measure(plan).samples]
        seen = rows[-2]
        bars += [
            Bar(name=f"event to decision, {seen.subject}, p50", measured=seen.p50, limit=25, side="at most", unit="ms"),
            Bar(
                name=f"event to decision, {seen.subject}, p99", measured=seen.p99, limit=250, side="at most", unit="ms"
            ),
        ]
    method = (
        "from the acknowledgement of a track call to the end of the first decision with it; 300 events/s flow beside"
    )
    return Section(title="freshness", method=method, rows=rows, bars=bars)


def mixed(on: Stage, seconds: float) -> Section:
    """Open loop: 300 decisions/s and 500 events/s. The floor under the same rates shows what the machine allows."""
    rows = []
    targets = {target.name: target for target in on.targets()}
    if on.floor:
        flows = [
            Flow(target=targets["floor: bare path"], per_second=300),
            Flow(target=targets["floor: empty endpoint"], per_second=500),
        ]
        rows += [summarise("load", [s]) for s in measure(OpenLoop(flows=flows, seconds=seconds)).samples]
    bars = []
    for name in DECIDING if on.kairos else ():
        flows = [Flow(target=targets[name], per_second=300), tracks(on, 500, seconds, f"beside {name}")]
        outcome = measure(OpenLoop(flows=flows, seconds=seconds))
        found = [
            summarise("load", [sample], note=f"load: {outcome.cpu_share:.0%} of a core") for sample in outcome.samples
        ]
        rows += found
        bars.append(Bar(name=f"{name}: under load, p99", measured=found[0].p99, limit=15, side="at most", unit="ms"))
    method = "open loop, 300 decisions/s + 500 events/s, latency from the intended start"
    return Section(title="load", method=method, rows=rows, bars=bars)


def servers(on: Stage, seconds: float) -> Section:
    """uvicorn or granian under a small Litestar application."""
    rows = []
    for workers in (1, 2):
        with (
            processes.web("echo:app", workers, on.folder, {}, "uvicorn") as uvicorn,
            processes.web("echo:app", workers, on.folder, {}, "granian") as granian,
        ):
            targets = [
                Target(name=f"{name}: {label}", url=on_it.url, path=path, bodies=bodies, process=on_it.process)
                for label, path, bodies in (
                    ("empty", "/empty", []),
                    ("5 KB both ways", "/document", [workload.document()]),
                )
                for name, on_it in (("uvicorn", uvicorn), ("granian", granian))
            ]
            if workers == 1:
                turns = [Turn(target=target, block=100) for target in targets]
                plan = Alternating(turns=turns, rounds=ROUNDS, seconds=seconds)
                rows += [summarise("one client", [sample]) for sample in measure(plan).samples]
            rows += saturate(f"{CLIENTS} clients, {workers} workers", targets, seconds / 2)
    return Section(title="servers", method="a small Litestar application, no access log, uvloop in both", rows=rows)


def saturate(section: str, targets: list[Target], seconds: float) -> list[Row]:
    """Throughput of each in turns of a second or less, so that noise hits all alike; new connections every turn."""
    samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
    used = dict.fromkeys(samples, 0.0)
    turns = max(4, round(seconds))
    for _ in range(turns):
        for target in targets:
            plan = Saturating(target=target, clients=CLIENTS, seconds=seconds / turns, warm_seconds=0.3)
            before = machine.tree_seconds(target.process)
            samples[target.name] += measure(plan).samples
            used[target.name] += machine.tree_seconds(target.process) - before
    rows = []
    for name, taken in samples.items():
        rates = [len(sample.latencies) / sample.seconds for sample in taken]
        cost = 1000 * used[name] / max(1, sum(sample.answered for sample in taken))
        row = summarise(section, taken)
        rows.append(msgspec.structs.replace(row, spread=(min(rates), max(rates)), processor_ms=cost))
    return rows
