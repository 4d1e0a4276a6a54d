"""One MLflow run a training: parameters, metrics, plots, the model, and (when all of that is there) the version."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from models import registry
from models.bundle import Description
from training.plots import draw

if TYPE_CHECKING:
    from features.settings import Settings
    from training.comparison import Comparison
    from training.fit import Fitted
    from training.labels import Floats, Queries
    from training.parts import Matrix
    from training.split import Window

EXPERIMENT = "kairos"
EXAMPLE_ROWS = 5


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run is told."""

    queries: Queries
    """Of the test."""
    window: Window
    fitted: Fitted
    comparison: Comparison
    score: Floats
    """Of the test's rows."""
    example: Matrix
    data_digest: str
    parameters: dict[str, Any]


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    description: Description
    alias: str
    run_id: str
    experiment_id: str
    bundle: Path


def record(settings: Settings, name: str, alias: str, outcome: Outcome) -> Registered:
    """Log the run, register the model, move the alias. A run that fails is marked so, and moves nothing."""
    client = registry.connect(settings)
    import mlflow

    experiment = registry.open_experiment(client, settings, EXPERIMENT)
    with mlflow.start_run(experiment_id=experiment, run_name=name) as run:
        description = describe(name, run.info.run_id, outcome)
        tags = _tags(outcome)
        mlflow.set_tags(tags)
        mlflow.log_params(outcome.parameters | outcome.fitted.parameters)
        mlflow.log_metrics(description.metrics)
        _log_baselines(outcome)
        with tempfile.TemporaryDirectory() as folder:
            for path in draw(Path(folder), outcome.fitted, outcome.comparison, outcome.score, outcome.queries.rewarded):
                mlflow.log_artifact(str(path), "plots")
        mlflow.log_text(msgspec.json.format(msgspec.json.encode(description)).decode(), "bundle.json")
        columns = outcome.fitted.signature.names
        example = pd.DataFrame(outcome.example.astype(np.float64), columns=columns)
        uri = registry.log_model(outcome.fitted.booster, description, example)
        described = registry.promote(
            client, settings.home.bundles, alias, description, outcome.fitted.booster, uri, tags
        )
    return Registered(
        description=described,
        alias=alias,
        run_id=run.info.run_id,
        experiment_id=experiment,
        bundle=settings.home.bundles / name / described.version,
    )


def describe(name: str, run_id: str, outcome: Outcome) -> Description:
    """The bundle's description, its version still to come."""
    metrics = {_slug(key): interval.value for key, interval in outcome.comparison.model.metrics.items()}
    return Description(
        name=name,
        version="",
        reward=outcome.queries.reward,
        labels=outcome.queries.kind,
        signature=outcome.fitted.signature,
        calibration=outcome.fitted.calibration,
        run_id=run_id,
        trained=datetime.now(UTC).isoformat(timespec="seconds"),
        window=outcome.window.days,
        data_digest=outcome.data_digest,
        metrics={key: value for key, value in metrics.items() if np.isfinite(value)},
    )


def _tags(outcome: Outcome) -> dict[str, str]:
    begin, end = outcome.window.days
    return {
        "labels": outcome.queries.kind,
        "reward": outcome.queries.reward,
        "data_digest": outcome.data_digest,
        "window_from": begin,
        "window_until": end,
    }


def _log_baselines(outcome: Outcome) -> None:
    import mlflow

    comparison = outcome.comparison
    for judged in comparison.baselines:
        values = {f"baseline/{_slug(judged.name)}/{_slug(key)}": it.value for key, it in judged.metrics.items()}
        mlflow.log_metrics({key: value for key, value in values.items() if np.isfinite(value)})
    mlflow.log_dict(
        {
            judged.name: {key: msgspec.to_builtins(interval) for key, interval in judged.metrics.items()}
            for judged in [comparison.model, *comparison.baselines]
        },
        "metrics.json",
    )


def _slug(name: str) -> str:
    """A name that MLflow takes for a metric.

    >>> _slug("predicted / actual"), _slug("NDCG@10")
    ('predicted_over_actual', 'ndcg_at_10')
    """
    words = name.lower().replace("@", "_at_").replace("/", "over")
    return "_".join("".join(letter if letter.isalnum() or letter in "_ -" else " " for letter in words).split())
