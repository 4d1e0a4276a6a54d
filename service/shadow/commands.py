"""`kairos models shadow`. Its imports are light: what it needs is imported when it runs."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def shadow(
    *,
    home: Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")] = None,
) -> None:
    """Show what the challenger would have made of decisions that the champion has made.

    Running services let the version that `challenger` names score a sample of their decisions, after they were
    answered (KAIROS_SHADOW_SHARE, 5 %). The figures are of the `kairos up` of the home since its start; /metrics has
    them too.
    """
    from rich.console import Console
    from rich.table import Table

    from features.settings import load
    from service.shadow import figures

    found = figures.ask(load(os.environ, home).home)
    if not found:
        print("No challenger has scored anything yet: kairos train --alias challenger makes one.")
        return
    table = Table("", *(it.challenger for it in found))
    facts = {
        "placements scored": [f"{it.scored:,}" for it in found],
        "same candidate first": [f"{it.agreed:.1%} ({it.low:.1%} to {it.high:.1%})" for it in found],
        "mean propensity": [f"{it.propensity:.4f}" for it in found],
        "mean of the champion's": [f"{it.champion:.4f}" for it in found],
        "apart by": [f"{it.distance:.4f}" for it in found],
        "scoring takes": [f"{it.milliseconds:.3f} ms" for it in found],
        "dropped, being behind": [f"{it.dropped:,}" for it in found],
        "failed": [f"{it.failed:,}" for it in found],
    }
    for name, values in facts.items():
        table.add_row(name, *values)
    Console().print(table)
