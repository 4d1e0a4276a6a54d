"""`make bench`: Kairos, the floor below it and the stack a user would write instead, side by side. Not a test.

python tests/benchmarks/run.py [--seconds 10] [--only one-client --only load] [--subjects floor --subjects rival]
"""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003  # cyclopts resolves annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.benchmarks import events, flags, machine, outage, report, sections, soak
from tests.benchmarks.processes import ROOT
from tests.benchmarks.stage import Stage, set_up

if TYPE_CHECKING:
    from tests.benchmarks.figures import Section

Subject = Literal["kairos", "floor", "rival"]
Name = Literal[
    "floor", "one-client", "throughput", "wide", "flags", "freshness", "load", "servers", "events", "outage", "soak"
]

MEASUREMENTS = {
    "floor": (sections.floor_parts, {"floor"}),
    "one-client": (sections.one_client, set()),
    "throughput": (sections.throughput, set()),
    "wide": (sections.wide, {"kairos"}),
    "flags": (flags.flags, {"kairos"}),
    "freshness": (sections.freshness, {"kairos"}),
    "load": (sections.mixed, set()),
    "servers": (sections.servers, set()),
    "events": (events.events, {"kairos"}),
    "outage": (outage.outage, {"kairos"}),
    "soak": (soak.soak, {"kairos"}),
}
"""Each with the subjects without which it has nothing to say."""
LONG = {"soak"}
ASKED_FOR = LONG | {"outage"}
"""Only then."""

app = App(name="bench", help=__doc__, version_flags=[])


@app.default
def bench(
    *,
    seconds: Annotated[float, Parameter(validator=validators.Number(gte=1, lte=120))] = 10.0,
    only: tuple[Name, ...] = (),
    subjects: tuple[Subject, ...] = ("kairos", "floor", "rival"),
    workers: int = 2,
    minutes: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=600))] = 10.0,
    output: Path = ROOT / "build" / "bench",
) -> None:
    """Measure and print, and write JSON and a plot.

    Parameters
    ----------
    seconds
        Length of each measurement; the one-client one takes three times as long. Of the outage, how long Redis is
        stopped: 30 is the promise.
    only
        These measurements and no others.
    subjects
        What to measure; leave out what is not of interest.
    workers
        API processes of each subject.
    minutes
        Length of the soak, which is taken only when asked for.
    output
        Folder of bench.json and bench.png.
    """
    console = Console(width=max(Console().width, report.WIDTH))
    wanted = [name for name in MEASUREMENTS if (name not in ASKED_FOR if not only else name in only)]
    wanted = [name for name in wanted if MEASUREMENTS[name][1] <= set(subjects)]
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=1, transient=True) as progress:
        task = progress.add_task("start", total=len(wanted) + 1)
        used = ["kairos", "floor", "rival"] if wanted != ["servers"] else []
        with set_up(
            [name for name in used if name in subjects],
            workers,
            lambda text: progress.update(task, description=text),
        ) as stage:
            progress.advance(task)
            measured = []
            for name in wanted:
                progress.update(task, description=name)
                measured.append(take(name, stage, minutes * 60 if name in LONG else seconds))
                progress.advance(task)
    found = report.Report(
        taken=report.now(),
        machine=report.describe_machine(),
        seconds=seconds,
        sections=measured,
    )
    report.show(console, found)
    for path in report.save(found, output):
        console.print(f"written: {path}", highlight=False)


def take(name: str, stage: Stage, seconds: float) -> Section:
    time.sleep(1)  # let what the measurement before set going come to rest
    before = machine.take_usage()
    section = MEASUREMENTS[name][0](stage, seconds)
    section.others = machine.others_share(before, machine.take_usage())
    return section


if __name__ == "__main__":
    app()
