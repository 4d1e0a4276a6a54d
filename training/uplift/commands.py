"""The verb of uplift. Its imports are light: what it needs is imported when it runs."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
DataOption = Annotated[Path | None, Parameter(help="A row for each unit of the test: CSV, JSON lines or Parquet.")]
MappingOption = Annotated[
    Path | None, Parameter(help="Who was treated, the outcome, and what was known of each unit (YAML).")
]
ExperimentOption = Annotated[
    str | None, Parameter(help="Instead of a file: an experiment of Kairos' own log, as `holdout`.")
]
DAY = 86_400_000_000


def uplift(
    *,
    data: DataOption = None,
    mapping: MappingOption = None,
    experiment: ExperimentOption = None,
    treated: Annotated[str, Parameter(help="The variant of --experiment that was treated.")] = "open",
    control: Annotated[str, Parameter(help="The one that was not.")] = "held",
    outcome: Annotated[str, Parameter(help="The event that counts for --experiment.")] = "Order Completed",
    days: Annotated[float, Parameter(help="Within how many days of the first exposure.")] = 7.0,
    out: Annotated[Path | None, Parameter(help="A PNG file for the Qini curves.")] = None,
    seed: Annotated[int, Parameter(help="Of training and of the intervals.")] = 0,
    home: HomeOption = None,
) -> None:
    """Say for whom a treatment works, from a randomised test.

    Of a file (--data, --mapping), or of Kairos' own log (--experiment holdout). Two models (one an arm) and one of the
    transformed outcome, each unit judged by models of the others. Exit code 3 says that the treatment does not look
    drawn at random.
    """
    from rich.console import Console

    from models.uplift import UpliftError

    if (experiment is None) == (data is None) or (data is None) != (mapping is None):
        raise UpliftError("say --data and --mapping for a file, or --experiment for Kairos' own log")
    from training.uplift import learning
    from training.uplift.terminal import show

    console = Console()
    if data is not None and mapping is not None:
        from training.uplift import files

        trial = files.read(data, mapping)
    else:
        from features.settings import load
        from training.uplift import holdout

        settings = load(os.environ, home)
        within = int(days * DAY)
        trial = holdout.read(settings.home, experiment or "", treated, control, outcome, within)
    with console.status("learning from one half, judging by the other"):
        finding = learning.find(trial, seed)
    code = show(console, finding)
    if out is not None:
        from training.plots import qini

        qini(finding.curves).savefig(out, dpi=110, bbox_inches="tight")
    raise SystemExit(code)
