"""`kairos models` and its verbs. Light: what they need is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from training.naming import require_alias

if TYPE_CHECKING:
    from features.settings import Settings

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
NameOption = Annotated[str, Parameter(help="The registered model's name.")]
AnyNameOption = Annotated[str | None, Parameter(help="Of this model; else of all.")]
AliasOption = Annotated[str, Parameter(help="The alias.")]
GivenOption = Annotated[str, Parameter(help="The alias.", validator=require_alias)]
Wanted = Annotated[str, Parameter(help="A version's number, or an alias that names it.")]
ReasonOption = Annotated[str, Parameter(help="Why; it is kept with the move.")]
PlotOption = Annotated[Path | None, Parameter(help="Where the figure goes; else compared.png here.")]
ForceOption = Annotated[bool, Parameter(help="Also one whose gates did not hold.", negative="")]

models = App(name="models", help="List, compare, promote and roll back the versions of models.")
ELSEWHERE = {
    "health": (
        "training.health.commands:health",
        "Say whether a model still sees and says what it did: drift, missing values, calibration, reward rates.",
    ),
    "ramp": (
        "service.ramps.commands:ramp",
        "Give a challenger more and more of the traffic, while its guardrails hold.",
    ),
    "shadow": (
        "service.shadow.commands:shadow",
        "Show what the challenger would have made of decisions that the champion has made.",
    ),
}
"""Verb: the function, by name alone, as what trains imports nothing of what serves; and its docstring's first line."""
for _verb, (_target, _line) in ELSEWHERE.items():  # a verb that was asked for speaks with its own docstring
    models.command(_target, name=_verb, help=None if sys.argv[2:3] == [_verb] else _line)


@models.command(name="list")
def list_(*, name: AnyNameOption = None, home: HomeOption = None) -> None:
    """List the versions, the newest first, with what they measured and which of them serves."""
    from rich.console import Console

    from training.versions import listing, terminal

    versions = listing.list_versions(_settings(home).home.bundles, name)
    if not versions:
        print("There is no model yet: kairos train makes one.")
        return
    Console().print(terminal.tabulate(versions))


@models.command
def show(version: Wanted, *, name: NameOption = "offers", home: HomeOption = None) -> None:
    """Show a version: what it learnt from, what it measured, its gates and ramps, and how its aliases moved."""
    from rich.console import Console

    from models import ramped
    from training.versions import listing, terminal

    bundles = _settings(home).home.bundles
    found = listing.find(bundles, name, version)
    ramps = ramped.read_ramps(bundles, name, found.description.version)
    terminal.show(Console(), found, listing.list_moves(bundles, name), ramps)


@models.command
def compare(
    left: Wanted, right: Wanted, *, name: NameOption = "offers", plot: PlotOption = None, home: HomeOption = None
) -> None:
    """Show two versions side by side, and draw their metrics with intervals into a file."""
    from rich.console import Console

    from training.versions import comparing, listing, terminal

    bundles = _settings(home).home.bundles
    pair = comparing.compare(bundles, *(listing.find(bundles, name, each) for each in (left, right)))
    terminal.show_pair(Console(), pair)
    path = plot or Path("compared.png")
    comparing.draw(pair).savefig(path, dpi=110, bbox_inches="tight")
    print(f"The figure is in {path}.")


@models.command
def promote(
    version: Wanted,
    *,
    name: NameOption = "offers",
    alias: GivenOption = "champion",
    force: ForceOption = False,
    reason: ReasonOption = "",
    home: HomeOption = None,
) -> None:
    """Point an alias at a version whose gates held; running services take it up within seconds."""
    from training.versions import moving

    moved = moving.promote(_settings(home), name, version, alias, force=force, reason=reason)
    print(f"{alias} of {name} is version {moved.description.version} now.")


@models.command
def rollback(
    *, name: NameOption = "offers", alias: AliasOption = "champion", reason: ReasonOption = "", home: HomeOption = None
) -> None:
    """Point an alias at the version that it named before. It is a new line in the history; nothing is lost."""
    from training.versions import moving

    before, moved = moving.roll_back(_settings(home), name, alias, reason)
    print(f"{alias} of {name} is version {moved.description.version} again, and no longer {before}.")


@models.command
def withdraw(
    alias: Annotated[str, Parameter(help="An alias, but the champion's.")],
    *,
    name: NameOption = "offers",
    reason: ReasonOption = "",
    home: HomeOption = None,
) -> None:
    """Let an alias name no version any more. It is a new line in the history; nothing is lost."""
    from training.versions import moving

    version = moving.withdraw(_settings(home), name, alias, reason)
    print(f"{alias} of {name} names nothing now, and no longer {version}.")


@models.command
def history(*, name: NameOption = "offers", home: HomeOption = None) -> None:
    """List how the aliases moved, the newest first."""
    from rich.console import Console

    from training.versions import listing, terminal

    moves = listing.list_moves(_settings(home).home.bundles, name)
    if not moves:
        print(f"No alias of {name} has moved yet.")
        return
    Console().print(terminal.tabulate_moves(moves))


def _settings(home: Path | None) -> "Settings":
    from features.settings import load

    return load(os.environ, home)
