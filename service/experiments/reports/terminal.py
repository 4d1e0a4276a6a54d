"""What the verbs of experiments print."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.experiments.reports import wording

if TYPE_CHECKING:
    from rich.console import Console

    from service.experiments.reports.counts import Counts, Results
    from service.experiments.reports.schema import Report

COLORS = {"investigate": "red", "stop": "red", "decide": "green", "wait": "yellow"}
SHOWN = 10


def show(console: Console, report: Report) -> None:
    """A report: the verdict first."""
    verdict = report.verdict
    title = f"{report.experiment} ({report.status}, {report.mode})"
    console.print(Panel(Text(verdict.text), title=title, title_align="left", border_style=COLORS[verdict.action]))
    for sheet in wording.sheets(report):
        console.print(_table(sheet))
        if sheet.note:
            console.print(Text(sheet.note, style="dim"))
        console.print()
    for assumption in verdict.assumptions:
        console.print(Text(f"- {assumption}", style="dim"))
    console.print(Text(f"As of {report.as_of}", style="dim"))


def show_counts(console: Console, counts: Counts, results: Results, by: str | None, alpha: float) -> None:
    """Experiments run elsewhere: how many raise an alarm, by group if asked, and the clearest of the sound ones."""
    alarms = results.alarms
    found = np.nanmin(np.nan_to_num(results.adjusted, nan=1.0), axis=1, initial=1.0) <= alpha
    console.print(
        Text(
            f"{len(counts.names):,} experiments, {int(counts.present.sum()):,} arms. Mismatch in "
            f"{int(alarms.sum()):,} ({wording.share(float(alarms.mean()))}): investigate these first. Of the others, "
            f"{int((found & ~alarms).sum()):,} differ from their first arm."
        )
    )
    if counts.left_out:
        told = [f"line {one.line}, {one.experiment!r}: {one.reason}" for one in counts.left_out[:SHOWN]]
        rest = len(counts.left_out) - len(told)
        more = [f"and {rest:,} more"] if rest else []
        console.print(Text(f"Left out {len(counts.left_out):,} that cannot be read:\n  " + "\n  ".join([*told, *more])))
    if by is not None:
        console.print(_groups(counts, alarms, found, by))
    worst = np.argsort(np.nan_to_num(results.mismatch, nan=1.0), kind="stable")[:SHOWN]
    if alarms.any():
        rows = [
            (
                counts.names[at],
                ", ".join(f"{units:,.0f}" for units in counts.units[at][counts.present[at]].tolist()),
                f"{results.mismatch[at]:.2g}",
            )
            for at in worst.tolist()
            if alarms[at]
        ]
        console.print(_table(wording.Sheet("Worst mismatches", ("experiment", "units", "p"), rows)))
    console.print(_table(_clearest(counts, results, found & ~alarms)))


def _clearest(counts: Counts, results: Results, chosen: np.ndarray) -> wording.Sheet:
    best = np.nan_to_num(results.adjusted, nan=1.0)
    rows = []
    for at in np.flatnonzero(chosen)[np.argsort(best.min(1)[chosen], kind="stable")][:SHOWN].tolist():
        arm = int(best[at].argmin())
        beside = results.difference
        span = (beside.lift_low[at, arm], beside.lift_high[at, arm])
        low, high = (wording.share(None if np.isnan(end) else float(end), True) for end in span)
        rows.append((counts.names[at], counts.arms[at][arm + 1], f"{low} to {high}", f"{best[at, arm]:.2g}"))
    return wording.Sheet("Clearest differences", ("experiment", "arm", "relative to the first arm", "p"), rows)


def _groups(counts: Counts, alarms: np.ndarray, found: np.ndarray, by: str) -> Table:
    labels = np.array(counts.labels)
    rows = []
    for label in np.unique(labels).tolist():
        here = labels == label
        rows.append(
            (
                label,
                f"{int(here.sum()):,}",
                f"{int(alarms[here].sum()):,}",
                wording.share(float(alarms[here].mean())),
                f"{int((found & ~alarms)[here].sum()):,}",
            )
        )
    return _table(wording.Sheet(f"By {by}", (by, "experiments", "mismatches", "share", "differences"), rows))


def _table(sheet: wording.Sheet) -> Table:
    table = Table(
        title=sheet.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in sheet.columns:
        table.add_column(column, overflow="fold")  # in a narrow window too, no figure is cut off
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
