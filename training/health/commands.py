"""`kairos models health`. Its imports are light: what it needs is imported when it runs."""

# No `from __future__ import annotations`: the command line reads the annotations.
import contextlib
import os
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def health(
    version: Annotated[str, Parameter(help="A version's number, or an alias that names it.")] = "champion",
    *,
    name: Annotated[str, Parameter(help="The registered model's name.")] = "offers",
    days: Annotated[float, Parameter(help="How many last days are looked at.")] = 7.0,
    metrics: Annotated[Path | None, Parameter(help="A file for Prometheus' text format.")] = None,
    home: Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")] = None,
) -> None:
    """Say whether a model still sees and says what it did: drift, missing values, calibration, reward rates.

    From logged decisions, their features as logged and rewards whose time is over. Running services show the newest
    result of the champion in /metrics. Exit code 1 says that something is to be done.
    """
    from rich.console import Console

    from features import tenancy
    from features.settings import load
    from training import freshness
    from training.health import log, terminal

    settings = load(os.environ, home)
    console = Console()
    log.load(settings.home, name, version)  # before the history, which may take its time
    with contextlib.ExitStack() as held:
        with console.status("bringing the history up to date"):
            freshness.flush(settings)
            held.enter_context(tenancy.hold(settings.home, partial(tenancy.renew, settings.home), console.print))
        found = log.inspect(settings.home, name, version, days)
    newest = settings.home.health / f"{name}.prom" if version == "champion" else None
    for path in (metrics, newest):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.new")
            temporary.write_text(terminal.expose(found))
            temporary.replace(path)
    raise SystemExit(terminal.show(console, found))
