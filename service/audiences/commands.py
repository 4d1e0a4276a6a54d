"""The verb of audiences. Its imports are light: what it needs is imported when it runs."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.table import Table

    from service.audiences.schema import Audience

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]


def audience(
    *,
    placement: Annotated[str, Parameter(help="A placement of the catalog, as `newsletter`.")],
    out: Annotated[Path, Parameter(help="The file to write: .parquet or .csv.")],
    where: Annotated[str | None, Parameter(help="A rule in CEL over the customers' features; else everybody.")] = None,
    at: Annotated[str | None, Parameter(help="When it is to be sent, in ISO 8601; else now.")] = None,
    rehearse: Annotated[bool, Parameter(help="Reserve and log nothing.", negative="")] = False,
    explain: Annotated[
        bool, Parameter(help="Say also what moved each score most; takes several times as long.", negative="")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Choose for all customers at once: who gets what, why, and when to send it.

    What is given is reserved from caps, budgets and stock, and logged. Who did not agree to marketing gets nothing. A
    time that is over is a rehearsal over the history: nothing is reserved or logged.
    """
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from features import embedded
    from features.settings import load
    from service.audiences import files, running

    settings = load(os.environ, home)
    now = time.time_ns() // 1000
    asked = running.begin(placement, where, at, rehearse, files.format_of(out), now, explain)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = time.perf_counter()
    with (
        embedded.reach(settings) as redis_url,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("choosing", total=None)
        done = asyncio.run(
            running.run(
                settings,
                redis_url,
                asked,
                out.expanduser().resolve(),
                lambda it: progress.update(task, completed=it.done, total=it.customers),
            )
        )
    console = Console()
    console.print(_table(done))
    kind = "a rehearsal: nothing is reserved or logged" if done.rehearsal else "reserved and logged"
    console.print(f"{out}: {kind}, {time.perf_counter() - began:.1f} s", highlight=False, soft_wrap=True)


def _table(done: "Audience") -> "Table":
    from rich.table import Table

    table = Table(title=f"{done.placement}, to be sent {done.at}", title_justify="left", show_header=False)
    rows = [("customers", done.customers), ("get something", done.given)]
    rows += [(f"get nothing: {reason}", count) for reason, count in sorted(done.nothing.items())]
    rows += [("the rule does not hold", done.outside), ("the rule asks for what is not known of them", done.unknown)]
    rows += [("joined to another id", done.joined)]
    for name, count in rows:
        table.add_row(name, f"{count:,}")
    return table
