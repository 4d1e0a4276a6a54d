"""What the terminal shows of an import and of a replay: bars on standard error, a summary on standard output."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from features.imports.fresh import WEEK
from features.imports.importing import BESIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from features.home import Home
    from features.imports.importing import Summary
    from features.replay import Report

STEPS = {"reading": "Reading rows", "building": "Building events", "features": "Rebuilding features"}


class _RateColumn(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@contextlib.contextmanager
def follow() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for each step that is told of: (step, done, in all if known)."""
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RateColumn()]
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(step: str, done: int, total: int | None) -> None:
            for earlier, task in tasks.items():
                if earlier != step and not progress.tasks[task].finished:
                    progress.update(task, total=progress.tasks[task].completed)
            if step not in tasks:
                tasks[step] = progress.add_task(STEPS[step], total=total)
            progress.update(tasks[step], completed=done, total=total)

        yield tell


def show_import(home: Home, summary: Summary, seconds: float, replayed: Report | None) -> None:
    """`seconds` are those of the import alone."""
    table = _table()
    _row(table, "rows read", summary.rows)
    _row(table, "accepted", summary.accepted)
    if summary.repeated:
        _row(table, "  in two files", summary.repeated)
    _row(table, "rejected", sum(summary.rejected.values()))
    for reason, count in summary.rejected.items():
        _row(table, f"  {reason}", count)
    _row(table, "new events", summary.events)
    if summary.known:
        _row(table, "events known already", summary.known)
    _row(table, "customers", summary.customers)
    if summary.candidates:
        _row(table, "candidates", summary.candidates)
    if summary.shift:
        _row(table, "weeks shifted", summary.shift // WEEK)
    table.add_row("import", f"{seconds:.1f} s", f"{summary.rows / seconds:,.0f} rows/s")
    if replayed is not None:
        _add_replay(table, replayed)
        both = seconds + replayed.seconds
        table.add_row("both", f"{both:.1f} s", f"{summary.rows / both:,.0f} rows/s")
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    if summary.rejected_file is not None:
        console.print(Text(f"Rejected rows: {summary.rejected_file}"))
    if summary.catalog is not None:
        console.print(Text(f"Catalog: {summary.catalog}"))
        if summary.catalog.name == BESIDE:
            console.print(Text(f"{home.catalog} has been edited and stays: take over from {BESIDE} what you want."))
    if replayed is None:
        console.print("Nothing is new, and the features are current; `kairos replay` would rebuild them all the same.")
    console.print("Next: kairos train, then kairos up.")


def show_replay(replayed: Report) -> None:
    table = _table()
    _row(table, "events", replayed.events)
    if replayed.followed:
        _row(table, "events meanwhile", replayed.followed)
    _row(table, "customers", replayed.customers)
    _row(table, "candidates", replayed.candidates)
    _add_replay(table, replayed)
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print("History for training is brought up to date by kairos train.")


def _table() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    return table


def _row(table: Table, name: str, count: int) -> None:
    table.add_row(Text(name), f"{count:,}")


def _add_replay(table: Table, replayed: Report) -> None:
    seconds = max(replayed.seconds, 1e-9)
    table.add_row("workers waited", f"{replayed.paused:.2f} s")
    table.add_row("replay", f"{replayed.seconds:.1f} s", f"{replayed.events / seconds:,.0f} events/s")
