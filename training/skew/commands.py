"""`kairos skew`. Light: what it needs is imported when it runs."""

# No `from __future__ import annotations`: the command line reads the annotations.
import contextlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

if TYPE_CHECKING:
    from rich.table import Table

    from training.skew.auditing import Audit

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
DecisionsOption = Annotated[
    int, Parameter(help="The newest so many decisions.", validator=validators.Number(gte=1, lte=100_000))
]
AllOption = Annotated[bool, Parameter(name=["--all"], help="Also the features that agree.", negative="")]

SKEWED = 3
"""Exit code when a feature is skewed."""


def skew(*, decisions: DecisionsOption = 1000, every: AllOption = False, home: HomeOption = None) -> None:
    """Compare what decisions were made with to what training joins for them.

    The customer's row that each decision logged beside the one that Feast joins as of the same moment, feature by
    feature, and the logged propensities beside the model's on joined features. Exit code 3 where more than 0.1 % of a
    feature's values differ; such a model is not promoted.
    """
    from rich.console import Console

    from features import tenancy
    from features.settings import load
    from features.store import open_store
    from training import freshness, gates
    from training.preparation import OFFLINE
    from training.skew.auditing import audit
    from training.terminal import Terminal

    settings, console = load(os.environ, home), Console()
    stages = Terminal(console)
    with stages.stage("archive"):
        freshness.flush(settings)
    bounds = gates.read_bounds(settings.home)
    with contextlib.ExitStack() as held:
        with stages.stage("history") as advance:
            renew = partial(tenancy.renew, settings.home, advance)
            held.enter_context(tenancy.hold(settings.home, renew, stages.say))
        with stages.stage("compare"):
            found = audit(settings.home, open_store(settings.home, OFFLINE), decisions)
    if not found.decisions:
        console.print("No decision has read a customer's row yet, so there is nothing to compare.")
        return
    console.print(_tabulate(found, every))
    skewed = found.skewed(bounds.skew or 0.0)
    console.print(_conclude(found, [line.name for line in skewed]))
    if skewed:
        raise SystemExit(SKEWED)


def _tabulate(found: "Audit", every: bool) -> "Table":
    import math

    from rich.table import Table

    left_out = f", {found.other_layouts:,} of other declarations left out" if found.other_layouts else ""
    title = f"{found.decisions:,} decisions{left_out}"
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
    for heading in ("", "values", "differ", "share", "largest difference"):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for line in found.lines:
        if line.mismatching or every:
            largest = "missing on one side" if math.isnan(line.largest) else f"{line.largest:.6g}"
            table.add_row(line.name, f"{line.compared:,}", f"{line.mismatching:,}", f"{line.share:.3%}", largest)
    return table


def _conclude(found: "Audit", skewed: list[str]) -> str:
    if skewed:
        return f"[red]Skewed: {', '.join(skewed)}.[/] A model that learns from these joins learns something else."
    agree = sum(not line.mismatching for line in found.lines)
    return f"{agree} of {len(found.lines)} agree everywhere; none differs by more than the gate allows."
