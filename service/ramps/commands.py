"""`kairos models ramp`. Its imports are light: what it needs is imported when it runs."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

TAKEN_BACK = 3
"""Exit code when the evidence speaks against what was asked for."""
LEAST_UNITS = 100
"""Below, no sequential interval is told."""


def ramp(
    version: Annotated[str, Parameter(help="A version's number, or an alias that names it.")] = "challenger",
    *,
    steps: Annotated[
        tuple[float, ...], Parameter(help="Percent of the units, ascending to 100.", consume_multiple=True, negative=())
    ] = (1.0, 5.0, 25.0, 50.0, 100.0),
    every: Annotated[str, Parameter(help="From one look at the guardrails to the next.")] = "1m",
    min_units: Annotated[
        int,
        Parameter(help="Challenger units that a step compares.", validator=validators.Number(gte=LEAST_UNITS)),
    ] = 1000,
    min_time: Annotated[str, Parameter(help="That each step takes at least; 0s for none.")] = "1h",
    patience: Annotated[str, Parameter(help="After which a step that did not come to an end is taken back.")] = "14d",
    tolerated_loss: Annotated[
        float,
        Parameter(
            help="Of the click rate, relative: excluded before everybody gets the challenger.",
            validator=validators.Number(gt=0, lt=1),
        ),
    ] = 0.1,
    back: Annotated[bool, Parameter(help="Take back the ramp that is under way.", negative="")] = False,
    force: Annotated[bool, Parameter(help="Also a version whose gates did not hold.", negative="")] = False,
    name: Annotated[str, Parameter(help="The registered model's name.")] = "offers",
    home: Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")] = None,
) -> None:
    """Give a challenger more and more of the traffic, while its guardrails hold.

    1, 5, 25, 50 and 100 % of the units, by an experiment that the ramp keeps in the catalog. At each step its click
    rate, error rate and latency are compared with the champion's, by intervals that may be looked at all the time. What
    is worse is taken back at once, and the verdict stands on the version; what is not becomes the champion. Ctrl-C
    gives everybody the champion until the ramp is started again. Exit code 3 when it was taken back.
    """
    import signal
    import time

    from rich.console import Console

    from features.settings import load
    from service.ramps import beginning, driving, state, steering
    from service.ramps.state import Plan

    plan = Plan(
        steps=tuple(round(step / 100.0, 6) for step in steps),
        units=min_units,
        seconds=_seconds("--min-time", min_time),
        patience=_seconds("--patience", patience),
        tolerated=tolerated_loss,
    )
    beginning.require_plan(plan)
    pause = _seconds("--every", every)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a pause, as Ctrl-C
    settings = load(os.environ, home)
    with state.alone(settings.home, name):
        if back and state.read(settings.home, name) is None:
            raise state.RampError(f"no ramp of {name!r} is under way")
        begun = beginning.begin(settings, name, version, plan, force=force)
        driven = steering.Steering(settings, begun, time.time, time.sleep)
        ended = driving.drive(driven, Console(), pause, back=back)
    raise SystemExit(TAKEN_BACK if ended.ending == "taken back" and not back else 0)


def _seconds(option: str, text: str) -> float:
    from service.catalog.parts import parse_duration
    from service.ramps.state import RampError

    if text in ("0", "0s"):
        return 0.0
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise RampError(f"{option}: {error}") from None
