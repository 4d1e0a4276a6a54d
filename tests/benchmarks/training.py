"""Seconds and memory of a training, by the number of labelled rows: `kairos train` on archives written for it.

Run it: `python tests/benchmarks/training.py [--rows 100000 --rows 1000000] [--cluster local:2]`, with as little else on
the machine as may be. Archives are written first and are no part of the time; each training has a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
PHASES = ("labels", "history", "features", "fit", "evaluate", "register")
MARK = "figures: "
DEFAULT = (100_000, 1_000_000)


class Recorder:
    """Where a training shows its progress: keeps the seconds and the memory of each stage."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, float]] = {}
        self.said: list[str] = []
        self.memory = Memory()

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[Callable[[int, int], None]]:
        wall, processor = time.monotonic(), _processor_seconds()
        self.memory.turn()
        yield lambda _done, _total: None
        self.phases[title] = {
            "seconds": round(time.monotonic() - wall, 2),
            "processor": round(_processor_seconds() - processor, 2),
            "peak_gib": round(self.memory.turn() / 2**30, 2),
        }

    def say(self, text: str) -> None:
        self.said.append(text)


def _processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Memory(threading.Thread):
    """Looks at what this process and all that it started hold at the same time, five times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._since = 0.0, 0.0
        self.start()

    def run(self) -> None:
        while True:
            self._look()
            time.sleep(0.2)

    def turn(self) -> float:
        """The most since the last turn, in bytes."""
        self._look()
        most, self._since = self._since, 0.0
        return most

    def _look(self) -> None:
        held = machine.tree_bytes(os.getpid())
        self._since, self.peak = max(self._since, held), max(self.peak, held)


def train(folder: Path, cluster: str | None) -> None:
    """In this process; prints the figures."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from features.home import Home
    from features.settings import Settings
    from training import pipeline
    from training.options import Options

    recorder = Recorder()
    settings = Settings(home=Home(folder))
    report = pipeline.train(settings, Options(labels="logged", cluster=cluster), recorder)
    described = report.registered.description
    figures = {
        "features": len(described.signature.features),
        "seconds": round(report.seconds, 1),
        "processor": round(_processor_seconds(), 1),
        "peak_gib": round(recorder.memory.peak / 2**30, 2),
        "load": round(os.getloadavg()[0], 1),
        "phases": recorder.phases,
        "auc": round(described.metrics["auc"], 4),
        "log_loss": round(described.metrics["log_loss"], 5),
        "said": recorder.said,
    }
    print(MARK + json.dumps(figures))


def measure(folder: Path, cluster: str | None) -> dict[str, Any]:
    """One training in a process of its own. RuntimeError with its words when it fails."""
    command = [sys.executable, __file__, "--home", str(folder), *(["--cluster", cluster] if cluster else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        raise RuntimeError(f"the training failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
    return found


def tabulate(measured: dict[int, dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="seconds of each phase (of them on a processor), by labelled rows", title_justify="left")
    for name in ("rows", "features", *PHASES, "in all", "without history", "peak GiB", "load", "AUC"):
        table.add_column(name, justify="right")
    for rows, found in measured.items():
        phases = [found["phases"].get(name) for name in PHASES]
        cells = ["-" if phase is None else f"{phase['seconds']:.0f} ({phase['processor']:.0f})" for phase in phases]
        history = found["phases"].get("history", {"seconds": 0.0})["seconds"]
        whole = [f"{found['seconds']:.0f}", f"{found['seconds'] - history:.0f}", f"{found['peak_gib']:.1f}"]
        table.add_row(f"{rows:,}", str(found["features"]), *cells, *whole, f"{found['load']}", f"{found['auc']}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", help="labelled rows; may be repeated")
    parser.add_argument("--cluster", help="as of kairos train")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.home:
        train(options.home, options.cluster)
        return
    from rich.console import Console

    from features.home import Home
    from tests.benchmarks.exposures import make
    from tests.benchmarks.recording import Plan

    console, measured = Console(width=max(Console().width, 150)), dict[int, dict[str, Any]]()
    for rows in options.rows or DEFAULT:
        with tempfile.TemporaryDirectory(prefix="kairos-training-") as folder:
            began = time.monotonic()
            size = make(Home(Path(folder)), Plan(rows=rows, customers=max(rows // 20, 1000)))
            console.print(f"{rows:,} rows: an archive of {size / 2**20:.0f} MiB in {time.monotonic() - began:.0f} s")
            measured[rows] = measure(Path(folder), options.cluster)
            if options.json:
                options.json.write_text(json.dumps(measured, indent=2))
    console.print(tabulate(measured))


if __name__ == "__main__":
    main()
