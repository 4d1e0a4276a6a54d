"""What an MLflow run is told of values of rewards and of a search: metrics, tables, figures and the second model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np

from training import plots

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from training.appraisal import Appraised
    from training.fitting import Fitted
    from training.search import Found

OWN = "value"
"""Begins the names of the metrics of values."""


def log_values(fitted: Fitted, appraised: Appraised | None, example: pd.DataFrame, folder: Path) -> None:
    """Into the active run; the trees are a model of their own there, whose scores are logs of what a reward brings."""
    if fitted.value is None:
        return
    import mlflow.lightgbm

    mlflow.log_params({f"{OWN}_trees": fitted.value.booster.num_trees(), f"{OWN}_rewards": fitted.value.rewards})
    figures = {"value_losses": plots.losses(fitted.value.losses, fitted.value.booster.num_trees(), "Tweedie deviance")}
    figures["value_importances"] = plots.importances(fitted.value.booster)
    if appraised is not None:
        methods = {it.name: it.metrics for it in (*appraised.baselines, appraised.model)}
        figures["value_metrics"] = plots.comparison(methods)
        mlflow.log_dict(msgspec.to_builtins(methods), "value_metrics.json")
        for baseline in appraised.baselines:
            named = {f"baseline/{baseline.name}/{OWN}_{metric}": it.value for metric, it in baseline.metrics.items()}
            mlflow.log_metrics({_plain(name): value for name, value in named.items() if np.isfinite(value)})
    _draw(figures, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own deprecations
        requirements = [f"lightgbm=={lightgbm.__version__}"]
        booster = fitted.value.booster
        mlflow.lightgbm.log_model(booster, name=OWN, input_example=example, pip_requirements=requirements)


def log_search(found: Found | None, folder: Path) -> None:
    """The trials as a table and a figure."""
    if found is None:
        return
    import mlflow

    names = list(found.trials[0].parameters)
    table: dict[str, Any] = {"trial": [it.number for it in found.trials]}
    table |= {name: [it.parameters[name] for it in found.trials] for name in names}
    table |= {found.metric: [it.score for it in found.trials], "trees": [it.trees for it in found.trials]}
    table |= {"seconds": [round(it.seconds, 3) for it in found.trials]}
    mlflow.log_table(table, "search.json")
    best = found.trials[found.best]
    mlflow.log_params({"search_trials": len(found.trials), "search_best": found.best})
    mlflow.log_metrics({"search_first": found.trials[0].score, "search_best": best.score})
    _draw({"search": plots.search(found)}, folder)


def _draw(figures: dict[str, Any], folder: Path) -> None:
    import mlflow

    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=110, bbox_inches="tight")
        mlflow.log_artifact(str(path), "plots")


def _plain(name: str) -> str:
    """A name that MLflow takes for a metric."""
    kept = "".join(letter if letter.isalnum() or letter in "_ -/" else " " for letter in name.lower())
    return "_".join(kept.replace(" / ", " over ").split())
