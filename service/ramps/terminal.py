"""What `kairos models ramp` prints: a line for each look, and what a pause or an end leaves behind."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text

from service.ramps.guarding import tell

if TYPE_CHECKING:
    from rich.console import Console

    from service.ramps.state import Ramp
    from service.ramps.steering import Seen

STYLES = {"wait": "", "advance": "green", "take back": "bold red"}


def greet(console: Console, ramp: Ramp) -> None:
    """What begins, or goes on."""
    steps = ", ".join(f"{step:.4g}" for step in (100 * each for each in ramp.plan.steps))
    if ramp.ending is not None:
        text = f"it was to be {ramp.ending}, and that is brought to an end"
    elif ramp.began:
        text = f"it goes on at {100 * ramp.share:g} %"
    else:
        text = f"steps of {steps} %, in {', '.join(ramp.placements)}"
    console.print(
        f"Version {ramp.version} of {ramp.name} beside {ramp.champion}: {text}. "
        f"Each step takes {ramp.plan.units:,} units and {ramp.plan.seconds / 60:g} minutes or more.",
        highlight=False,
        soft_wrap=True,
    )


def show(console: Console, seen: Seen) -> None:
    """One look."""
    ramp, found = seen.ramp, seen.found
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    said = "" if found is None else "; ".join(tell(guard) for guard in found.guards)
    line = f"{now}  {100 * ramp.share:g} %  {said}{'  ' if said else ''}"
    if seen.is_over:
        line += f"{ramp.ending}: {ramp.reason}"
    else:
        line += {"wait": "waits: ", "advance": "next step: ", "take back": ""}[seen.decided.act] + seen.decided.why
    console.print(Text(line, style=STYLES[seen.decided.act]), soft_wrap=True)


def fail(console: Console, error: Exception) -> None:
    """What will be tried again."""
    console.print(Text(f"{error}; it is tried again at the next look", style="yellow"), soft_wrap=True)


def warn(console: Console, ramp: Ramp, error: Exception) -> None:
    """A pause that could not be made."""
    text = (
        f"{error}\nThe ramp could not be paused: {100 * ramp.share:g} % of the units have version {ramp.version}, and "
        "nobody watches. Stop its experiment in the catalog, or start the ramp again."
    )
    console.print(Text(text, style="bold red"), soft_wrap=True)


def conclude(console: Console, ramp: Ramp) -> None:
    """What an end leaves."""
    if ramp.ending == "promoted":
        text = (
            f"Version {ramp.version} is the champion of {ramp.name}, and the experiment is out of the catalog. "
            "kairos models rollback goes back."
        )
    else:
        text = (
            f"Version {ramp.champion} serves everybody; the experiment is out of the catalog, and challenger no longer "
            f"names {ramp.version}. kairos models show {ramp.version} has the figures."
        )
    console.print(text, highlight=False, soft_wrap=True)


def rest(console: Console, ramp: Ramp) -> None:
    """What Ctrl-C leaves."""
    if ramp.ending is not None:
        text = f"It was decided that version {ramp.version} is {ramp.ending}: start the ramp again to see that done."
    else:
        text = (
            f"Paused at {100 * ramp.share:g} %: the champion, version {ramp.champion}, serves everybody. Started "
            f"again, the ramp goes on here; --back takes it back."
        )
    console.print(text, highlight=False, soft_wrap=True)
