"""The run's figures, as artifacts: reliability, importances, gain by share shown, metrics beside the baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from training.comparison import Comparison
    from training.fit import Fitted
    from training.labels import Flags, Floats

INK, ACCENT, MUTED = "#222222", "#1f6feb", "#9aa4b2"
FEATURES_SHOWN = 25


def draw(folder: Path, fitted: Fitted, comparison: Comparison, score: Floats, rewarded: Flags) -> list[Path]:
    """Write the figures as PNG files."""
    figures = {
        "reliability": _reliability(comparison),
        "importances": _importances(fitted),
        "lift": _lift(score, rewarded),
        "metrics": _metrics(comparison),
        "losses": _losses(fitted),
    }
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=110, bbox_inches="tight")
        paths.append(path)
    return paths


def _reliability(comparison: Comparison) -> Figure:
    figure = Figure(figsize=(5.5, 5.5))
    axes = figure.subplots()
    for judged in [*comparison.baselines, comparison.model]:
        if (bins := judged.reliability) is not None:
            mine = judged is comparison.model
            axes.plot(
                bins.predicted, bins.actual, "o-", ms=4, label=judged.name, color=ACCENT if mine else None,
                alpha=1.0 if mine else 0.5, lw=2 if mine else 1,
            )  # fmt: skip
    top = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, top], [0, top], color=MUTED, lw=1, ls="--")
    axes.set(xlabel="predicted probability", ylabel="share rewarded", title="Reliability on the test part")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _importances(fitted: Fitted) -> Figure:
    gain = np.asarray(fitted.booster.feature_importance("gain"))
    share = gain / max(float(gain.sum()), 1e-12)
    order = np.argsort(share)[-FEATURES_SHOWN:]
    figure = Figure(figsize=(8, 0.28 * len(order) + 1))
    axes = figure.subplots()
    axes.barh([fitted.signature.names[at] for at in order], share[order], color=ACCENT)
    axes.tick_params(labelsize=7)
    axes.set(xlabel="share of the gain of all splits", title="Feature importances")
    return figure


def _lift(score: Floats, rewarded: Flags) -> Figure:
    order = np.argsort(-score, kind="stable")
    found = np.cumsum(rewarded[order]) / max(int(rewarded.sum()), 1)
    shown = (np.arange(len(order)) + 1) / len(order)
    at = np.unique(np.linspace(0, len(order) - 1, 400).astype(np.int64))
    figure = Figure(figsize=(5.5, 5.0))
    axes = figure.subplots()
    axes.plot(shown[at], found[at], color=ACCENT, lw=2, label="model")
    axes.plot([0, 1], [0, 1], color=MUTED, ls="--", lw=1, label="at random")
    axes.set(xlabel="share of rows, best first", ylabel="share of the rewards in them", title="Cumulative gain")
    axes.legend(frameon=False)
    return figure


def _metrics(comparison: Comparison) -> Figure:
    names = list(comparison.model.metrics)
    figure = Figure(figsize=(3.2 * len(names), 3.2))
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        methods = [each for each in [*comparison.baselines, comparison.model] if metric in each.metrics]
        for place, judged in enumerate(methods):
            interval = judged.metrics[metric]
            color = ACCENT if judged is comparison.model else MUTED
            axes.barh(place, interval.value, color=color)
            if np.isfinite(interval.low):
                axes.plot([interval.low, interval.high], [place, place], color=INK, lw=1.5)
        axes.set_yticks(range(len(methods)), [judged.name for judged in methods], fontsize=7)
        axes.set_title(metric, fontsize=9)
    figure.tight_layout()
    return figure


def _losses(fitted: Fitted) -> Figure:
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for part, values in fitted.losses.items():
        axes.plot(np.arange(len(values)) + 1, values, label=part)
    axes.axvline(fitted.booster.num_trees(), color=MUTED, ls="--", lw=1)
    axes.set(xlabel="trees", ylabel="log loss", title="Training")
    axes.legend(frameon=False)
    return figure
