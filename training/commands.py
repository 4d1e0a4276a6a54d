"""The verbs of training. Their imports are light: what they start is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from training.naming import require_alias, require_name

REFUSED = 3
"""Exit code when the evidence speaks against what was asked for."""

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
LabelsOption = Annotated[
    Literal["auto", "bootstrap", "logged"],
    Parameter(help="Learn from orders or views (bootstrap), from what was shown (logged), or logged when it suffices."),
]
RewardOption = Annotated[
    Literal["Order Completed", "Product Viewed", "click", "conversion", "revenue"] | None,
    Parameter(
        help="What to predict; else clicks for logged labels, and orders, or views where there are none. Revenue is "
        "conversions, with --value revenue."
    ),
]
ValueOption = Annotated[
    Literal["catalog", "revenue"],
    Parameter(help="What a reward is worth: as the catalog says, or learnt too, by candidate and customer."),
]
SearchOption = Annotated[
    str | None, Parameter(help="Look for better trees, by the validation part: so many trials (40), or so long (30m).")
]
NameOption = Annotated[str, Parameter(help="The registered model's name.", validator=require_name)]
DateOption = Annotated[date | None, Parameter(help="A day (UTC); else by shares of the queries.")]
UntilOption = Annotated[date | None, Parameter(help="The first day that is not in the test; else the end.")]
Positive = validators.Number(gte=1)
CandidatesOption = Annotated[
    int, Parameter(help="Bootstrap: the most popular so many compete.", validator=validators.Number(gte=2, lte=10_000))
]
WindowOption = Annotated[int, Parameter(help="Bootstrap: popular in so many days before.", validator=Positive)]
PerDayOption = Annotated[
    int | None, Parameter(help="Bootstrap: at most so many queries a day; else all.", validator=Positive)
]
TreesOption = Annotated[int, Parameter(help="Most trees; fewer when validation stops improving.", validator=Positive)]
LeavesOption = Annotated[int, Parameter(help="Leaves a tree.", validator=validators.Number(gte=2))]
RateOption = Annotated[float, Parameter(help="Learning rate.", validator=validators.Number(gt=0, lte=1))]
NegativesOption = Annotated[
    float | None,
    Parameter(
        help="Share of the unrewarded training rows to use; else as many as train fast.",
        validator=validators.Number(gt=0, lte=1),
    ),
]
ObjectiveOption = Annotated[
    Literal["binary", "ranking"], Parameter(help="Predict alone, or let trees that rank (LambdaMART) follow.")
]
CalibrationOption = Annotated[Literal["platt", "isotonic"], Parameter(help="From scores to probabilities.")]
IncreasingOption = Annotated[
    tuple[str, ...], Parameter(help="A feature that may only raise the score; may be repeated.", negative=())
]
DecreasingOption = Annotated[
    tuple[str, ...], Parameter(help="A feature that may only lower the score; may be repeated.", negative=())
]
StatesOption = Annotated[
    Literal["joined", "logged"],
    Parameter(help="Logged labels: customers as Feast joins them, or as each decision logged them."),
]
SeedOption = Annotated[int, Parameter(help="Of every random draw.")]
AliasOption = Annotated[str, Parameter(help="The alias that the new version gets.", validator=require_alias)]
ClusterOption = Annotated[
    str | None,
    Parameter(help="Join and fit on Dask: a scheduler's address (tcp://host:8786), or local:2 for two processes here."),
]
PromoteOption = Annotated[
    bool,
    Parameter(
        help="Take the champion's place if every gate holds; the first needs only those without a rival.", negative=""
    ),
]
EveryOption = Annotated[
    str | None, Parameter(help="Again and again, as 6h or 1d; what fails is told, and the next one comes all the same.")
]
PortOption = Annotated[
    int | None, Parameter(help="The port to listen on; else a free one.", validator=validators.Number(gte=1, lte=65535))
]


def train(
    *,
    home: HomeOption = None,
    labels: LabelsOption = "auto",
    reward: RewardOption = None,
    value: ValueOption = "catalog",
    name: NameOption = "offers",
    train_from: DateOption = None,
    validation_from: DateOption = None,
    test_from: DateOption = None,
    test_until: UntilOption = None,
    candidates: CandidatesOption = 200,
    candidate_window_days: WindowOption = 60,
    queries_per_day: PerDayOption = None,
    trees: TreesOption = 400,
    leaves: LeavesOption = 31,
    learning_rate: RateOption = 0.05,
    negatives: NegativesOption = None,
    objective: ObjectiveOption = "binary",
    calibration: CalibrationOption = "platt",
    increasing: IncreasingOption = (),
    decreasing: DecreasingOption = (),
    states: StatesOption = "joined",
    search: SearchOption = None,
    seed: SeedOption = 0,
    alias: AliasOption = "champion",
    cluster: ClusterOption = None,
    promote: PromoteOption = False,
    every: EveryOption = None,
) -> None:
    """Train a model from the archive, evaluate and promote it.

    Features are joined as they were at each label's time, the model is judged by what came after, beside baselines.
    The version goes to the MLflow registry and, as a bundle, to running services. Where there is a champion already,
    it stays unless --promote is given and every gate holds; exit code 3 when a gate refuses.
    """
    if every is not None:
        _repeat(every, home, name)
    # LightGBM's threads sleep while they wait, instead of taking the cores from a service beside it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from rich.console import Console

    from features.settings import load
    from training import bootstrap, fit, pipeline
    from training import search as searching
    from training.options import Options
    from training.split import Dates
    from training.terminal import Terminal, show

    console = Console()
    options = Options(
        labels=labels,
        reward="conversion" if reward == "revenue" else reward,
        value="revenue" if reward == "revenue" else value,
        search=None if search is None else searching.parse(search),
        name=name,
        alias=alias,
        dates=Dates(train_from=train_from, validation_from=validation_from, test_from=test_from, test_until=test_until),
        queries=bootstrap.Options(
            candidates=candidates, window_days=candidate_window_days, queries_per_day=queries_per_day, seed=seed
        ),
        fit=fit.Options(
            trees=trees,
            leaves=leaves,
            learning_rate=learning_rate,
            negatives=negatives,
            seed=seed,
            objective=objective,
            calibration=calibration,
            increasing=increasing,
            decreasing=decreasing,
        ),
        seed=seed,
        states=states,
        cluster=cluster,
        promote=promote,
    )
    report = pipeline.train(load(os.environ, home), options, Terminal(console))
    show(console, report)
    if report.is_refused:
        raise SystemExit(REFUSED)


def _repeat(every: str, home: Path | None, name: str) -> None:
    """Train now and then, until Ctrl-C."""
    from training import rewards, schedule
    from training.labels import SECOND, TrainingError

    try:
        seconds = rewards.parse(every) / SECOND
    except ValueError as error:
        raise TrainingError(f"--every: {error}") from None
    if not seconds:
        raise TrainingError(f"--every {every}: trainings without end need some time from one to the next")
    arguments = sys.argv[sys.argv.index("train") + 1 :]
    for ended in schedule.repeat(schedule.without_every(arguments), seconds):
        print(f"Training {ended.number}: {ended.word}, in {ended.seconds:.0f} s; the next every {every}.", flush=True)
        schedule.look_after(home, name)


def demo(
    *,
    home: Annotated[Path | None, Parameter(help="The demo's data folder; else .kairos-demo here.")] = None,
    once: Annotated[bool, Parameter(help="End after the summary instead of serving on.", negative="")] = False,
    port: PortOption = None,
) -> None:
    """Watch a simulated shop learn what to show.

    Everything but the customers is real: the service, the events, the training, the comparison of both arms.
    """
    from training.demonstration import run_demo

    raise SystemExit(run_demo(home, once=once, port=port))
