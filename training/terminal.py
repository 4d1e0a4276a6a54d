"""What `kairos train` shows: a bar a stage, one table of metrics against baselines, and where the model went."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from training.comparison import AUC, ECE, HIGHER, HIT, LOSS, NDCG, RATIO, RECIPROCAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from training.comparison import Comparison, Judged
    from training.intervals import Interval
    from training.pipeline import Advance, Report

COLUMNS = (NDCG, HIT, RECIPROCAL, AUC, LOSS, ECE, RATIO)
COMPARED = (NDCG, AUC, LOSS)


class Terminal:
    """The stages of a training as progress bars."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[Advance]:
        began = time.monotonic()
        with self._live():
            task = self._progress.add_task(title, total=None)
            yield lambda done, total: self._progress.update(task, completed=done, total=total)
            self._progress.remove_task(task)
        self.console.print(f"{title:<9} {time.monotonic() - began:6.1f} s", style="dim", highlight=False)

    @contextlib.contextmanager
    def _live(self) -> Iterator[None]:
        self._progress.start()
        try:
            yield
        finally:
            self._progress.stop()

    def say(self, text: str) -> None:
        self.console.print(escape(text), highlight=False)


def show(console: Console, report: Report) -> None:
    console.print(tabulate(report.comparison))
    for line in compare(report.comparison):
        console.print(escape(line), highlight=False)
    registered = report.registered
    described = registered.description
    uri = report.tracking_uri
    console.print(
        f"\nmodel [bold]{escape(described.name)} {described.version}[/], alias {escape(registered.alias)}, in "
        f"{escape(str(registered.bundle))}\n"
        f"learnt from {described.window[0]} until {described.window[1]}, propensity is "
        + ("P(in the next basket or view)" if described.labels == "bootstrap" else "P(click given shown)")
        + f"\nrun    {escape(uri)} experiment {registered.experiment_id} run {registered.run_id}\n"
        f"look   mlflow ui --backend-store-uri {escape(uri)}\n"
        f"took   {report.seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )


def tabulate(comparison: Comparison) -> Table:
    ranked = f", {comparison.ranked:,} with something rewarded" if comparison.ranked else ""
    title = f"Test: {comparison.queries:,} queries{ranked}; {comparison.rows:,} rows, {comparison.rewarded:,} rewarded"
    columns = [name for name in COLUMNS if name in comparison.model.metrics]
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("method", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right")
    for judged in [*comparison.baselines, comparison.model]:
        style = "bold green" if judged is comparison.model else None
        table.add_row(judged.name, *(_cell(name, judged.metrics.get(name)) for name in columns), style=style)
    return table


def _cell(metric: str, interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.value):
        return "-"
    digits = 4 if metric in (LOSS, ECE) else 3
    text = f"{interval.value:.{digits}f}"
    if metric in COMPARED and not math.isnan(interval.low):
        text += f"\n{interval.low:.{digits}f} - {interval.high:.{digits}f}"
    return text


def compare(comparison: Comparison) -> list[str]:
    """Paired differences with 95 % intervals, then new and returning customers."""
    lines = []
    for baseline in comparison.baselines:
        parts = []
        for metric in COMPARED:
            if (difference := comparison.difference(metric, baseline)) is not None:
                better = difference.low > 0 if metric in HIGHER else difference.high < 0
                mark = "better" if better else "no clear difference"
                worse = difference.high < 0 if metric in HIGHER else difference.low > 0
                mark = "worse" if worse else mark
                parts.append(
                    f"{metric} {difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}, {mark})"
                )
        if parts:
            lines.append(f"model - {baseline.name}: {'; '.join(parts)}")
    if comparison.ranked:
        lines.append(f"new customers, {NDCG}: {_slices(comparison, 'new')}")
        lines.append(f"returning customers, {NDCG}: {_slices(comparison, 'returning')}")
    return lines


def _slices(comparison: Comparison, name: str) -> str:
    def value(judged: Judged) -> float:
        return float(getattr(judged, name)[NDCG])

    return ", ".join(f"{judged.name} {value(judged):.3f}" for judged in [comparison.model, *comparison.baselines])
