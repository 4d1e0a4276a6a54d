"""A report over many exposures: what the first one costs, and what the next ones do after a few more. Not a test.

Run it: `python tests/benchmarks/reports.py [--exposures 10000000 --customers 3000000]`, with as little else on the
machine as may be. The archive is written first and is no part of the time; each report has a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

MORE = 10_000
"""Exposures from one report to the next."""
app = App(name="reports", help=__doc__, version_flags=[])


@app.default
def measure(
    *,
    exposures: int = 10_000_000,
    customers: int = 3_000_000,
    days: int = 14,
    folder: Annotated[Path | None, Parameter(help="Where the archive goes, and stays; else a temporary one.")] = None,
) -> None:
    """Write an archive, and report on it: at first, after more exposures, and after its days were merged."""
    with tempfile.TemporaryDirectory(prefix="kairos-reports-") as temporary:
        home = folder or Path(temporary)
        written = step("write", home, exposures, customers, days)
        figures = {"first": step("report", home)}
        step("add", home, MORE, customers)
        figures[f"after {MORE:,} more exposures"] = step("report", home)
        step("add", home, MORE, customers)
        step("merge", home)
        figures[f"after {MORE:,} more and a merge of all files"] = step("report", home)
        figures["with nothing new"] = step("report", home)
    show(written, figures)


def step(*order: object) -> dict[str, Any]:
    """One step in a process of its own -> its figures. RuntimeError with its words when it fails."""
    command = [sys.executable, __file__, "do", *map(str, order)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{order[0]} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{order[0]}: {found}", file=sys.stderr)
    return found


@app.command
def do(what: str, home: Path, *sizes: int) -> None:
    """A step of the above, in this process: figures as JSON on the last line."""
    from features import archive
    from features.home import Home
    from service.experiments.reports import reporting
    from tests.benchmarks import many

    place = Home(home)
    found: dict[str, Any] = {}
    began, used, read = time.monotonic(), time.process_time(), bytes_read()
    if what == "write":
        many.begin(place, *sizes)
        found["MB"] = sum(file.size for file in archive.files(place.archive)) >> 20
    elif what == "add":
        many.go_on(place, *sizes)
    elif what == "merge":
        archive.compact(place.archive, now=many.END * 2)
    else:
        events: list[int] = []
        made = reporting.report(place, many.EXPERIMENT, events.append)
        found |= {"events": sum(events), "units": made.units, "verdict": made.verdict.text}
    found |= {"seconds": round(time.monotonic() - began, 1), "cpu": round(time.process_time() - used, 1)}
    found |= {"read_MB": round((bytes_read() - read) / 1e6, 1), "peak_MB": peak() >> 20}
    print(json.dumps(found))


def bytes_read() -> int:
    """By this process until now, from whatever cache."""
    said = Path("/proc/self/io")
    return int(said.read_text().split()[1]) if said.exists() else 0


def peak() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def show(written: dict[str, Any], figures: dict[str, dict[str, Any]]) -> None:
    table = Table(title=f"reports on an archive of {written['MB']:,} MB", title_justify="left")
    for name in ("report", "events read", "units", "s", "s of CPU", "MB read", "peak MB"):
        table.add_column(name, justify="left" if name == "report" else "right")
    for name, found in figures.items():
        cells = [found[key] for key in ("events", "units", "seconds", "cpu", "read_MB", "peak_MB")]
        table.add_row(name, *(f"{cell:,}" for cell in cells))
    Console(width=120).print(table)
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    app()
