"""What `kairos train` shows: a bar a stage, one table of metrics against baselines, and where the model went."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING

import msgspec
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from training.appraisal import DEVIANCE, RMSE
from training.gates import refusal
from training.metrics import AUC, ECE, HIGHER, HIT, LOSS, NDCG, RATIO, RECIPROCAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from training.appraisal import Appraised
    from training.comparison import Comparison
    from training.gates import Verdict
    from training.intervals import Interval
    from training.options import Advance
    from training.pipeline import Report

COLUMNS = (NDCG, HIT, RECIPROCAL, AUC, LOSS, ECE, RATIO)
COMPARED = (NDCG, AUC, LOSS)
MARKS = {True: ("holds", "green"), False: ("fails", "red"), None: ("-", "dim")}


class Terminal:
    """The stages of a training as progress bars."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[Advance]:
        began = time.monotonic()
        with self._live():
            task = self._progress.add_task(title, total=None)
            try:
                yield lambda done, total: self._progress.update(task, completed=done, total=total)
            finally:
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
    comparison = report.comparison
    console.print(tabulate(comparison))
    console.print(tabulate_differences(comparison))
    if report.appraised is not None:
        console.print(tabulate_values(report.appraised))
    if comparison.ranked:
        for text, name in (("customers without a past", "new"), ("returning customers", "returning")):
            if line := _slice(comparison, name):
                console.print(f"{NDCG} of {text}: {line}", style="dim", highlight=False)
    registered = report.registered
    described = registered.description
    uri = report.tracking_uri
    meaning = "P(click given shown)" if described.labels == "logged" else f"P(in the next {described.reward!r})"
    console.print(tabulate_gates(report.verdicts))
    state = f"alias {registered.alias}" if registered.is_moved else "no alias"
    lines = (
        ("model", f"{described.name} {described.version}, {state}: {registered.bundle}"),
        ("meaning", f"propensity is {meaning}, learnt from {described.window[0]} to {described.window[1]}"),
        ("run", f"{uri} (experiment {registered.experiment_id}, run {registered.run_id})"),
        ("look", _look(uri, registered.experiment_id, registered.run_id)),
        ("took", f"{report.seconds:.0f} s"),
    )
    for name, text in (*lines, *_next(report)):
        console.print(f"[bold]{name:<8}[/]{escape(text)}", highlight=False, soft_wrap=True)


def _look(uri: str, experiment: str, run: str) -> str:
    """Where the run is to be seen: by a server that runs, else by one to start."""
    if uri.startswith(("http://", "https://")):
        return f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{run}"
    return f"mlflow ui --backend-store-uri {uri}"


def _next(report: Report) -> list[tuple[str, str]]:
    """What is left to be done by hand."""
    registered = report.registered
    if registered.is_moved:
        return []
    name, number = registered.description.name, registered.description.version
    if report.is_refused:
        return [("refused", f"{registered.alias} stays as it was: {refusal(report.verdicts)}")]
    command = f"kairos models promote {number} --name {name}"
    return [("next", f"{registered.alias} stays as it was; {command}, or train with --promote")]


def tabulate_gates(verdicts: list[Verdict]) -> Table:
    """What each gate measured and asked for: green where it holds, red where not, grey where it was not measured."""
    table = Table(title="Gates", title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
    for column in ("", "", "measured", "asked for"):
        table.add_column(column, overflow="fold")
    for verdict in verdicts:
        word, style = MARKS[verdict.holds]
        table.add_row(escape(verdict.gate), word, escape(verdict.figure), escape(verdict.bound), style=style)
    return table


def tabulate(comparison: Comparison) -> Table:
    """Every method's metrics; 95 % intervals of the model's in a row of their own."""
    ranked = f", {comparison.ranked:,} with something rewarded" if comparison.ranked else ""
    title = f"Test: {comparison.queries:,} queries{ranked}; {comparison.rows:,} rows, {comparison.rewarded:,} rewarded"
    columns = [name for name in COLUMNS if name in comparison.model.metrics]
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
    table.add_column("", overflow="fold")
    for name in columns:
        table.add_column("pred / act" if name == RATIO else name, justify="right", no_wrap=True)
    for judged in comparison.baselines:
        table.add_row(judged.name, *(_value(name, judged.metrics.get(name)) for name in columns))
    metrics = comparison.model.metrics
    table.add_row("model", *(_value(name, metrics[name]) for name in columns), style="bold green")
    for label, side in (("  from", "low"), ("  to", "high")):
        bounds = [msgspec.structs.replace(metrics[name], value=getattr(metrics[name], side)) for name in columns]
        table.add_row(label, *(_value(name, bound) for name, bound in zip(columns, bounds, strict=True)), style="green")
    return table


def tabulate_differences(comparison: Comparison) -> Table:
    """Paired differences, model minus baseline: green where the model is better with its whole interval, red: worse."""
    table = Table(
        title="Model minus baseline, paired; 95 % intervals over customers",
        title_justify="left", title_style="bold", header_style="bold", pad_edge=False,
    )  # fmt: skip
    columns = [name for name in COMPARED if name in comparison.model.metrics]
    table.add_column("", overflow="fold", min_width=16)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for baseline in comparison.baselines:
        cells = [_difference(name, comparison.difference(name, baseline)) for name in columns]
        table.add_row(baseline.name, *cells)
    return table


def tabulate_values(appraised: Appraised) -> Table:
    """How well it is told what a reward brings, method by method; the model's 95 % interval below."""
    title = f"What a reward brings: {appraised.rewards:,} rewards, {appraised.brought:,.2f} in all"
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
    table.add_column("", overflow="fold")
    for name in (DEVIANCE, RMSE, "pred / act", "model's deviance minus its"):
        table.add_column(name, justify="right")
    names = (DEVIANCE, RMSE, RATIO)
    for told in appraised.baselines:
        less = appraised.difference(told)
        difference = f"{less.value:+.3f} ({less.low:+.3f} to {less.high:+.3f})"
        table.add_row(told.name, *(_value(name, told.metrics[name]) for name in names), difference)
    metrics = appraised.model.metrics
    table.add_row("model", *(_value(name, metrics[name]) for name in names), "", style="bold green")
    table.add_row("", *(f"{metrics[it].low:.3f} to {metrics[it].high:.3f}" for it in names), "", style="green")
    return table


def _value(metric: str, interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.value):
        return "-"
    return f"{interval.value:.{_digits(metric)}f}"


def _difference(metric: str, interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.low):
        return "-"
    digits = _digits(metric)
    # In two lines: three intervals beside a name are wider than a terminal.
    text = f"{interval.value:+.{digits}f}\n{interval.low:+.{digits}f} to {interval.high:+.{digits}f}"
    sign = 1 if metric in HIGHER else -1
    if min(sign * interval.low, sign * interval.high) > 0:
        return f"[green]{text}[/]"
    return f"[red]{text}[/]" if max(sign * interval.low, sign * interval.high) < 0 else text


def _digits(metric: str) -> int:
    return 4 if metric in (LOSS, ECE) else 3


def _slice(comparison: Comparison, name: str) -> str:
    methods = [comparison.model, *comparison.baselines]
    values = [(judged.name, float(getattr(judged, name)[NDCG])) for judged in methods]
    return ", ".join(f"{method} {value:.3f}" for method, value in values if not math.isnan(value))
