"""The verbs of training. Their imports are light: what they start is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
LabelsOption = Annotated[
    Literal["auto", "bootstrap", "logged"],
    Parameter(help="Learn from orders or views (bootstrap), from what was shown (logged), or logged when it suffices."),
]
RewardOption = Annotated[
    Literal["Order Completed", "Product Viewed", "click"] | None,
    Parameter(help="What to predict; else clicks for logged labels, and orders, or views where there are none."),
]
NameOption = Annotated[str, Parameter(help="The registered model's name.")]
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
SeedOption = Annotated[int, Parameter(help="Of every random draw.")]
AliasOption = Annotated[str, Parameter(help="The alias that the new version gets.")]
PortOption = Annotated[
    int | None, Parameter(help="The port to listen on; else a free one.", validator=validators.Number(gte=1, lte=65535))
]


def train(
    *,
    home: HomeOption = None,
    labels: LabelsOption = "auto",
    reward: RewardOption = None,
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
    seed: SeedOption = 0,
    alias: AliasOption = "champion",
) -> None:
    """Train a model from the archive, evaluate and promote it.

    Features are joined as they were at each label's time, the model is judged by what came after, beside baselines.
    The version goes to the MLflow registry and, as a bundle, to running services.
    """
    # LightGBM's threads sleep while they wait, instead of taking the cores from a service beside it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from rich.console import Console

    from features.settings import load
    from training import bootstrap, fit, pipeline
    from training.split import Dates
    from training.terminal import Terminal, show

    console = Console()
    options = pipeline.Options(
        labels=labels,
        reward=reward,
        name=name,
        alias=alias,
        dates=Dates(train_from=train_from, validation_from=validation_from, test_from=test_from, test_until=test_until),
        queries=bootstrap.Options(
            candidates=candidates, window_days=candidate_window_days, queries_per_day=queries_per_day, seed=seed
        ),
        fit=fit.Options(trees=trees, leaves=leaves, learning_rate=learning_rate, negatives=negatives, seed=seed),
        seed=seed,
    )
    show(console, pipeline.train(load(os.environ, home), options, Terminal(console)))


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
