"""Where a decision's time goes: the stages of the decision path timed inside one process, and the whole over HTTP.

python tests/benchmarks/anatomy.py [--decisions 2000]

Each stage's own time, without that of the stages within it; medians. Not a test.
"""

from __future__ import annotations

import asyncio
import http.client
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.table import Table

from features import settings as settings_of
from models.bundle import Bundle
from service.decisions import choose, committing, pipeline
from service.decisions.schema import DecisionRequest
from service.decisions.store import DecisionStore
from service.decisions.warming import warm_up
from service.live import Live
from tests.benchmarks import shop, workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STAGES: list[tuple[str, Any, str]] = [
    ("read: the row, newest events and ledger, one round trip", pipeline, "gather"),
    ("open the customer's state", choose, "open_customer"),
    ("features of all candidates", choose, "_features"),
    ("model: encode, trees, calibration", Bundle, "propensities"),
    ("eligibility: rules, caps, budgets", choose, "screen"),
    ("order, exploration, probabilities", choose, "pick"),
    ("choose: the rest of it", pipeline, "choose"),
    ("answer and its content", committing, "answer"),
    ("record for the log", committing, "record"),
    ("encode the record", committing, "encode"),
    ("commit: reserve and log, one round trip", committing.Commit, "write"),
]
"""Name, and where the function is found that it stands for."""
REST = "check, question, metrics"
HTTP = "HTTP, the client included"

app = App(name="anatomy", help=__doc__, version_flags=[])


class Watch:
    """Own times of nested stages, in milliseconds; one decision after another."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        self._open: list[float] = []
        """Time spent in stages within each open one."""
        self._now: dict[str, float] = {}

    def begin(self) -> float:
        self._open.append(0.0)
        return time.perf_counter()

    def end(self, stage: str, began: float) -> None:
        spent = time.perf_counter() - began
        self._now[stage] = self._now.get(stage, 0.0) + (spent - self._open.pop()) * 1e3
        if self._open:
            self._open[-1] += spent

    def close(self) -> None:
        """A decision is over."""
        for stage, spent in self._now.items():
            self.times[stage].append(spent)
        self._now.clear()

    def around(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""
        if asyncio.iscoroutinefunction(work):

            async def timed_later(*given: Any, **named: Any) -> Any:
                began = self.begin()
                try:
                    return await work(*given, **named)
                finally:
                    self.end(stage, began)

            return timed_later

        def timed(*given: Any, **named: Any) -> Any:
            began = self.begin()
            try:
                return work(*given, **named)
            finally:
                self.end(stage, began)

        return timed


def requests(placement: str, count: int) -> Iterator[DecisionRequest]:
    for body in workload.decisions(count, placement=placement):
        yield msgspec.json.decode(body, type=DecisionRequest)


async def dissect(home: Path, url: str, placement: str, count: int) -> dict[str, list[float]]:
    """Own times of the stages, by their names, of decisions one after the other."""
    settings = settings_of.load({}, home)
    store, live, watch = DecisionStore(settings, url), Live(settings, url, warm_up), Watch()
    await live.refresh()
    found = [(place, name, getattr(place, name)) for _, place, name in STAGES]
    for stage, place, name in STAGES:
        setattr(place, name, watch.around(stage, getattr(place, name)))
    decide = watch.around(REST, pipeline.decide)
    try:
        for asked in requests(placement, count):
            await decide(live, store, settings, asked)
            watch.close()
    finally:
        for place, name, work in found:
            setattr(place, name, work)
        await live.close()
        await store.close()
    return watch.times


def over_http(url: str, placement: str, count: int) -> list[float]:
    """Milliseconds of the same decisions asked over one connection."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    times = []
    for body in workload.decisions(count, placement=placement):
        began = time.perf_counter()
        connection.request("POST", "/v1/decisions", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
        times.append((time.perf_counter() - began) * 1e3)
    connection.close()
    return times


@app.default
def anatomy(*, decisions: Annotated[int, Parameter(validator=validators.Number(gte=100, lte=20_000))] = 2000) -> None:
    """Take a plain and a governed decision apart."""
    columns = {}
    with tempfile.TemporaryDirectory(prefix="kairos-anatomy-") as name:
        folder = Path(name)
        with shop.open_shop(folder, 1, lambda _: None) as (address, url):
            for label, placement in (("plain", workload.PLACEMENT), ("governed", workload.GOVERNED)):
                whole = statistics.median(over_http(address.url, placement, decisions))
                times = asyncio.run(dissect(folder / "home", url, placement, decisions))
                own = {stage: statistics.median(taken[len(taken) // 5 :]) for stage, taken in times.items()}
                columns[label] = own | {HTTP: whole - sum(own.values()), "a decision": whole}
    table = Table("ms, median", *columns)
    for stage in [stage for stage, _, _ in STAGES] + [REST, HTTP, "a decision"]:
        table.add_row(stage, *(f"{column.get(stage, 0.0):.2f}" for column in columns.values()))
    Console().print(table)


if __name__ == "__main__":
    app()
