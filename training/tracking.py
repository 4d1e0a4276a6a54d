"""One MLflow run a training: parameters, metrics, plots, the model, and (when all of that is there) the version."""

from __future__ import annotations

import os
import platform
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from models import registry
from models.bundle import Description
from training import faults, gates, plots, records

if TYPE_CHECKING:
    from features.settings import Settings
    from training.comparison import Comparison
    from training.fit import Fitted
    from training.judgement import Judgement
    from training.labels import Queries
    from training.split import Window

EXPERIMENT = "kairos"
EXAMPLE_ROWS = 5
PACKAGES = ("kairos", "lightgbm", "numpy", "pandas", "feast", "mlflow", "duckdb", "pyarrow")
"""Whose versions a run is told."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run is told."""

    queries: Queries
    """Of the test."""
    window: Window
    fitted: Fitted
    judged: Judgement
    data_digest: str
    parameters: dict[str, Any]
    seed: int


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    description: Description
    alias: str
    is_moved: bool
    """Whether the alias names the version now."""
    run_id: str
    experiment_id: str
    bundle: Path


def record(
    settings: Settings, description: Description, outcome: Outcome, alias: str, is_moved: bool, reason: str = ""
) -> Registered:
    """Log the run, register the model and, where `is_moved`, move the alias.

    All or nothing: a run that fails is marked so and moves nothing. Raises RegistryError for a full disk or an MLflow
    that went away.
    """
    with faults.told(settings):
        client = registry.connect(settings)
        import mlflow

        experiment = registry.open_experiment(client, settings, EXPERIMENT)
        with mlflow.start_run(experiment_id=experiment, run_name=description.name) as run:
            tags = _tags(outcome)
            mlflow.set_tags(tags)
            described = msgspec.structs.replace(description, run_id=run.info.run_id)
            _log(described, outcome)
            columns = outcome.fitted.signature.names
            example = pd.DataFrame(outcome.judged.matrix[:EXAMPLE_ROWS].astype(np.float64), columns=columns)
            uri = registry.log_model(outcome.fitted.booster, described, example)
            _log_further(outcome, example)
            bundles, booster, valued = settings.home.bundles, outcome.fitted.booster, outcome.fitted.value
            value = None if valued is None else valued.booster
            described = registry.register(client, bundles, described, booster, uri, tags, value)
            if is_moved:
                try:
                    registry.point(client, bundles, described.name, alias, described.version, reason=reason)
                except BaseException:
                    registry.withdraw(client, bundles, described.name, described.version)
                    raise
    return Registered(
        description=described,
        alias=alias,
        is_moved=is_moved,
        run_id=described.run_id,
        experiment_id=experiment,
        bundle=settings.home.bundles / described.name / described.version,
    )


def _log(description: Description, outcome: Outcome) -> None:
    """Parameters, metrics, figures and files of the active run."""
    import mlflow

    mlflow.log_params(outcome.parameters | outcome.fitted.parameters)
    mlflow.log_metrics(description.metrics)
    _log_comparison(outcome.judged.comparison)
    booster = outcome.fitted.booster
    with tempfile.TemporaryDirectory() as folder:
        for path in plots.draw(Path(folder), outcome.fitted, outcome.judged.comparison):
            mlflow.log_artifact(str(path), "plots")
        path = Path(folder) / "shap.png"
        figure = plots.shap_summary(booster, outcome.judged.matrix, outcome.seed)
        figure.savefig(path, dpi=110, bbox_inches="tight")
        mlflow.log_artifact(str(path), "plots")
    importances = zip(booster.feature_importance("gain"), booster.feature_importance("split"), strict=True)
    told = [{"gain": float(gain), "splits": int(splits)} for gain, splits in importances]
    names = outcome.fitted.signature.names
    mlflow.log_dict(dict(zip(names, told, strict=True)), "importances.json")
    mlflow.log_dict(description.gates, "gates.json")
    mlflow.log_dict(_surroundings(), "environment.json")
    mlflow.log_text(msgspec.json.format(msgspec.json.encode(description)).decode(), "bundle.json")


def _log_further(outcome: Outcome, example: pd.DataFrame) -> None:
    """What not every training has: values of rewards, a search."""
    with tempfile.TemporaryDirectory() as folder:
        records.log_values(outcome.fitted, outcome.judged.appraised, example, Path(folder))
        records.log_search(outcome.fitted.search, Path(folder))


def _surroundings() -> dict[str, Any]:
    """What the model was made with: the program, the libraries, the machine."""
    packages = {name: version(name) for name in PACKAGES}
    machine = {"platform": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()}
    return {"python": platform.python_version(), **machine, "packages": packages}


def describe(name: str, queries: Queries, window: Window, fitted: Fitted, data_digest: str) -> Description:
    """The bundle's description; its version, metrics and gates are still to come."""
    return Description(
        name=name,
        version="",
        reward=queries.reward,
        labels=queries.kind,
        signature=fitted.signature,
        calibration=fitted.calibration,
        value=None if fitted.value is None else fitted.value.appraisal,
        trained=datetime.now(UTC).isoformat(timespec="seconds"),
        window=window.days,
        data_digest=data_digest,
    )


def complete(description: Description, judged: Judgement) -> Description:
    """With the metrics and what the gates say."""
    found = {_slug(key): interval for key, interval in judged.comparison.model.metrics.items()}
    if judged.appraised is not None:
        of_values = judged.appraised.model.metrics
        found |= {f"{records.OWN}_{_slug(key)}": interval for key, interval in of_values.items()}
    known = {key: interval for key, interval in found.items() if np.isfinite(interval.value)}
    return msgspec.structs.replace(
        description,
        metrics={key: interval.value for key, interval in known.items()},
        intervals={key: (it.low, it.high) for key, it in known.items() if np.isfinite(it.low)},
        gates=gates.tell(judged.verdicts),
    )


def _tags(outcome: Outcome) -> dict[str, str]:
    begin, end = outcome.window.days
    verdicts = outcome.judged.verdicts
    told = {f"gate.{it.gate.replace(' ', '_')}": f"{_word(it.holds)}: {it.figure}; {it.bound}" for it in verdicts}
    return {
        "labels": outcome.queries.kind,
        "reward": outcome.queries.reward,
        "data_digest": outcome.data_digest,
        "window_from": begin,
        "window_until": end,
        "gates": _word(gates.holds(verdicts)),
    } | told


def _word(holds: bool | None) -> str:
    return {True: "holds", False: "fails", None: "not measured"}[holds]


def _log_comparison(comparison: Comparison) -> None:
    import mlflow

    for judged in comparison.baselines:
        values = {f"baseline/{_slug(judged.name)}/{_slug(key)}": it.value for key, it in judged.metrics.items()}
        mlflow.log_metrics({key: value for key, value in values.items() if np.isfinite(value)})
    methods = {judged.name: judged.metrics for judged in [comparison.model, *comparison.baselines]}
    for name, told in (("metrics", methods), ("slices", comparison.slices)):
        mlflow.log_text(msgspec.json.encode(told, enc_hook=_list).decode(), f"{name}.json")  # NaN is null there


def _list(values: object) -> object:
    return values.tolist() if isinstance(values, np.ndarray) else values


def _slug(name: str) -> str:
    """A name that MLflow takes for a metric.

    >>> _slug("predicted / actual"), _slug("NDCG@10")
    ('predicted_over_actual', 'ndcg_at_10')
    """
    words = name.lower().replace("@", "_at_").replace("/", "over")
    return "_".join("".join(letter if letter.isalnum() or letter in "_ -" else " " for letter in words).split())
