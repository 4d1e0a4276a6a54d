"""The verb of off-policy estimates. Its imports are light: what it needs is imported when it runs."""

# No `from __future__ import annotations`: the command line reads the annotations.
import contextlib
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import Console

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
LogOption = Annotated[Path | None, Parameter(help="The log of the policy that ran: CSV, JSON lines or Parquet.")]
TargetOption = Annotated[Path | None, Parameter(help="A log of the policy to value.")]
MappingOption = Annotated[Path | None, Parameter(help="What the columns of both mean (YAML).")]
ModelOption = Annotated[
    str | None, Parameter(help="Instead of files: an alias or version, valued from Kairos' own decisions.")
]
PlacementOption = Annotated[
    list[str] | None, Parameter(help="Only decisions for this placement; may be repeated.", negative="")
]
DaysOption = Annotated[float | None, Parameter(help="Only decisions of so many last days; else since it was trained.")]
DAY = 86_400_000_000


def off_policy(
    *,
    log: LogOption = None,
    target: TargetOption = None,
    mapping: MappingOption = None,
    model: ModelOption = None,
    name: Annotated[str, Parameter(help="The model of which --model is an alias or version.")] = "offers",
    placement: PlacementOption = None,
    days: DaysOption = None,
    home: HomeOption = None,
) -> None:
    """Say what a policy would have earned, from a log of what another one picked.

    Either from any two logs with selection probabilities (--log, --target, --mapping), or for a model from the
    decisions that Kairos has logged (--model). Exit code 3 says that the log cannot tell: support is too thin.
    """
    from rich.console import Console

    from models.off_policy import OffPolicyError

    files = [log, target, mapping]
    console = Console()
    if model is not None and not any(files):
        raise SystemExit(_value_model(console, home, name, model, tuple(placement or ()), days))
    if model is not None or not all(files) or placement or days is not None:
        raise OffPolicyError("say --log, --target and --mapping for two files, or --model for Kairos' own decisions")
    raise SystemExit(_value_files(console, *(path for path in files if path is not None)))


def _value_files(console: "Console", log: Path, target: Path, mapping: Path) -> int:
    from training.off_policy.files import value_files
    from training.off_policy.terminal import show

    valued = value_files(log, target, mapping)
    for note in valued.notes:
        console.print(note, highlight=False, soft_wrap=True)
    title = f"The policy of {target.name} valued from {log.name}"
    if target.name == log.name:
        title = f"The policy of {target} valued from {log}"
    return show(
        console, valued.valuation, title, "reward a slate", {"earned by the target in its own log": valued.earned}
    )


def _value_model(
    console: "Console", home: Path | None, name: str, model: str, placements: tuple[str, ...], days: float | None
) -> int:
    from features import tenancy
    from features.settings import load
    from models import bundle
    from models.off_policy import OffPolicyError

    settings = load(os.environ, home)
    version = bundle.read_aliases(settings.home.bundles, name).get(model, model)
    folder = settings.home.bundles / name / version
    if not folder.is_dir():
        raise OffPolicyError(f"there is no model {name}/{version}: neither an alias nor a version of {name!r}")
    from training import freshness
    from training.off_policy import valuing  # which imports Feast, and that takes seconds
    from training.off_policy.terminal import show

    loaded = bundle.load(folder)
    since = _since(loaded.description.window[1]) if days is None else time.time_ns() // 1000 - int(days * DAY)
    freshness.flush(settings)
    found = valuing.find(settings.home, placements, since)
    with contextlib.ExitStack() as held:
        if found.slots:
            with console.status("bringing the history up to date"):
                held.enter_context(tenancy.hold(settings.home, partial(tenancy.renew, settings.home), console.print))
        valuation = valuing.value_slots(settings.home, loaded.propensities, found)
    for reason, count in sorted(found.left_out.items(), key=lambda item: -item[1]):
        console.print(f"{count:,} slots left out: {reason}", highlight=False, soft_wrap=True)
    title = f"{loaded.label} in {valuation.support.slates:,} logged slots, by their first pick"
    return show(console, valuation, title, "clicks a slot", {})


def _since(trained_until: str) -> int | None:
    """What a model has learnt from tells nothing of it."""
    from datetime import datetime

    return int(datetime.fromisoformat(trained_until).timestamp() * 1e6) if trained_until else None
