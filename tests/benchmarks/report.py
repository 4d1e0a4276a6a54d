"""The figures as people and programs read them: tables on the terminal, JSON, and a plot."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from tests.benchmarks.figures import POINTS, Bar, Row, Section

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

WIDTH = 130
"""Columns of the tables, at least, also where the output is not a terminal."""
DECIDERS = {"rival", "rival, two calls", "floor: bare path"}
"""The subjects that answer the same question as Kairos."""
QUIET = 0.1
"""Processors that others may use before the reader is told."""
COLOURS = {
    "kairos": "#c0392b",
    "kairos, governed": "#e67e22",
    "rival": "#2c3e50",
    "rival, two calls": "#2980b9",
    "floor: bare path": "#27ae60",
    "floor: empty endpoint": "#95a5a6",
}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benchmark, as written to JSON."""

    taken: str
    machine: str
    seconds: float
    sections: list[Section]


def describe_machine() -> str:
    return f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def compare(row: Row, rows: list[Row]) -> str:
    """The row's p50 in units of Kairos' in the same section; `-` where there is none to compare with."""
    kairos = next((other for other in rows if other.subject == "kairos"), None)
    if kairos is None or row is kairos or row.subject not in DECIDERS:
        return "-"
    return f"{row.p50 / kairos.p50:.2f}"


def tabulate(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("subject", no_wrap=True, min_width=24)
    for name in ("answers", "p50 ms", "p95 ms", "p99 ms", "per second"):
        table.add_column(name, justify="right")
    extra: dict[str, Callable[[Row], str]] = {
        "p50 / kairos": lambda row: compare(row, rows),
        "failed": lambda row: ", ".join(f"{reason}: {count}" for reason, count in row.failures.items()),
        "slowest-fastest turn": lambda row: f"{row.spread[0]:,.0f}-{row.spread[1]:,.0f}" if row.spread else "",
        "cpu ms/answer": lambda row: "" if row.processor_ms is None else f"{row.processor_ms:.3f}",
        "sent late, p99": lambda row: "" if row.late_p99 is None else f"{row.late_p99:.2f}",
    }
    extra = {name: cell for name, cell in extra.items() if any(cell(row) not in ("", "-") for row in rows)}
    for name in extra:
        table.add_column(name, justify="right")
    for row in rows:
        cells = [f"{row.count:,}", f"{row.p50:.2f}", f"{row.p95:.2f}", f"{row.p99:.2f}", f"{row.per_second:,.0f}"]
        table.add_row(row.subject, *cells, *(cell(row) for cell in extra.values()))
    return table


def judge(bar: Bar, section: Section) -> str:
    """Met or missed; on a busy machine, or with answers that were not as asked, neither can be said."""
    if not section.others < QUIET:
        return "[yellow]not decided: busy machine"
    if any("kairos" in row.subject and row.failures for row in section.rows):
        return "[yellow]not decided: lower rungs or failures"
    return "[green]met" if bar.met else "[red]missed"


def tabulate_bars(sections: list[Section]) -> Table:
    table = Table(title="bars", title_justify="left")
    table.add_column("promise")
    table.add_column("measured", justify="right")
    table.add_column("bar", justify="right")
    table.add_column("")
    for section in sections:
        for bar in section.bars:
            measured, limit = f"{bar.measured:,.2f} {bar.unit}", f"{bar.side} {bar.limit:g} {bar.unit}"
            table.add_row(bar.name, measured, limit, judge(bar, section))
    return table


def show(console: Console, report: Report) -> None:
    for section in report.sections:
        console.print(f"\n[bold]{section.title}[/bold]: {section.method}", highlight=False)
        if not section.others < QUIET:
            console.print(
                f"  [yellow]other programs kept {section.others:.2f} processors busy meanwhile", highlight=False
            )
        for title, rows in groupby(section.rows, lambda row: row.section):
            console.print(tabulate("" if title == section.title else title, list(rows)))
        for row in section.rows:
            if row.note:
                console.print(f"  {row.subject}: {row.note[:160]}", highlight=False, markup=False)
    if any(section.bars for section in report.sections):
        console.print(tabulate_bars(report.sections))
    console.print(f"{report.machine}", highlight=False)


def save(report: Report, folder: Path) -> list[Path]:
    """Writes `bench.json` and `bench.png`; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, plot = folder / "bench.json", folder / "bench.png"
    data.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    draw(report, plot)
    return [data, plot]


def draw(report: Report, path: Path) -> None:
    """Latency by percentile (one client; under load), and decisions a second."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    by_title = {section.title: section for section in report.sections}
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for axes, title in ((left, "one client"), (middle, "load")):
        axes.set(title=title, xlabel="percentile", ylabel="ms", yscale="log")
        for row in by_title[title].rows if title in by_title else []:
            if row.curve:
                axes.plot(POINTS, row.curve, label=row.subject, color=COLOURS.get(row.subject))
        if axes.lines:
            axes.legend(fontsize="small")
        axes.grid(visible=True, alpha=0.3)
    rows = by_title["throughput"].rows if "throughput" in by_title else []
    right.set(title="throughput", xlabel="requests a second")
    right.barh([r.subject for r in rows], [r.per_second for r in rows], color=[COLOURS.get(r.subject) for r in rows])
    for place, row in enumerate(rows):
        right.text(row.per_second, place, f" {row.per_second:,.0f}", va="center", fontsize="small")
    figure.suptitle(f"{report.machine}; {report.taken}", fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
