"""What the terminal shows of declarations: the list of all features, and what a check of some came to."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from features.aggregates.aging import span
from features.aggregates.declared import ANY, KINDS, VIEWS, Aggregate
from features.aggregates.given import ATTRIBUTES, REQUESTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from features.additions import Report

STEPS = {"live": "Taking events in", "backfill": "Rebuilding history"}
DURATIONS = frozenset({"half_life", "length", "hop"})
WIDTH = 180
"""Of what goes into a file or another program."""
WORDS = {kind: word for word, kind in KINDS.items()}


def show_features(derived: tuple[str, ...]) -> None:
    """Every feature: aggregates by view, as declared; then what is derived, in the catalog, and in the request."""
    console = _console()
    for view, aggregates in VIEWS.items():
        table = _table(f"View {view}", ("name", "kind", "parameters", "of", "key", "gives"))
        for aggregate in aggregates:
            table.add_row(*map(Text, _cells(aggregate)))
        console.print(table)
    table = _table("Without a state", ("name", "kind", "from"))
    for name in derived:
        table.add_row(Text(name), "number", "closed features")
    for source, givens in (("catalog", ATTRIBUTES), ("request", REQUESTED)):
        for given in givens:
            table.add_row(Text(given.name), given.kind, Text(f"{source}: {given.meaning}"))
    console.print(table)
    unused = sorted(KINDS.keys() - {WORDS[type(one.kind)] for aggregates in VIEWS.values() for one in aggregates})
    console.print(Text(f"Kinds: {', '.join(KINDS)}; declared nowhere yet: {', '.join(unused) or 'none'}."))
    console.print("Try a new feature on your own events: kairos features check --help")


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH)


def _table(title: str, names: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, no_wrap=name in ("name", "kind"), header_style="dim")
    return table


def _cells(aggregate: Aggregate) -> tuple[str, ...]:
    kind = aggregate.kind
    parameters = [
        f"{name} {span(value) if name in DURATIONS else f'{value:g}'}"
        for name in kind.__struct_fields__
        for value in [getattr(kind, name)]
    ]
    events = " / ".join("+".join("any" if name == ANY else name for name in group) for group in aggregate.events)
    of = events if aggregate.value == "one" else f"{aggregate.value} of {events}"
    gives = ", ".join(output for output in kind.outputs if output)
    return aggregate.name, WORDS[type(kind)], ", ".join(parameters), of, aggregate.key or "", gives


@contextlib.contextmanager
def follow() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each step that is told of: (step, done, in all)."""
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(STEPS[step], total=total)
            progress.update(tasks[step], completed=done, total=total)

        yield tell


def show_check(report: Report) -> bool:
    """Print what was compared; whether all agrees."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("feature", overflow="fold")
    table.add_column("events", justify="right")
    table.add_column("values", justify="right")
    table.add_column("largest difference", justify="right")
    table.add_column("")
    for one in report.compared:
        found = one.difference
        verdict = "DIFFERS" if not found.agrees else "agrees" if one.events else "no events to tell"
        table.add_row(Text(one.aggregate.name), f"{one.events:,}", f"{found.values:,}", f"{found.largest:.3g}", verdict)
    console = _console()
    console.print(table)
    moments = ", ".join(datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S") for at in report.instants)
    console.print(
        Text(f"{report.events:,} events, {report.rows:,} rows live and backfilled, closed at {moments} (UTC).")
    )
    return all(one.difference.agrees for one in report.compared)
