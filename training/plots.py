"""Figures of a model, one function each: drawn here, stored by whoever asks. Nothing is shown on a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib.figure import Figure

from training.metrics import AUC, HIGHER, LOSS, NDCG, RATIO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import lightgbm

    from models.uplift import Qini
    from training.comparison import Comparison
    from training.evaluation import Lift, Reliability
    from training.fit import Fitted
    from training.intervals import Interval
    from training.labels import Floats
    from training.parts import Matrix
    from training.search import Found
    from training.slices import Slice

INK, ACCENT, MUTED = "#222222", "#1f6feb", "#9aa4b2"
FEATURES_SHOWN = 25
ROWS_EXPLAINED = 1_000
"""SHAP values cost milliseconds a row."""
SLICED = (NDCG, AUC, LOSS, RATIO)


def draw(folder: Path, fitted: Fitted, compared: Comparison) -> list[Path]:
    """Write the figures of a training, but the SHAP summary, as PNG files."""
    judged = [*compared.baselines, compared.model]
    figures = {
        "reliability": calibration({it.name: it.reliability for it in judged if it.reliability}, compared.model.name),
        "importances": importances(fitted.booster),
        "lift": lift({it.name: it.lift for it in judged if it.lift}, compared.model.name),
        "metrics": comparison({it.name: it.metrics for it in judged}, compared.model.name),
        "losses": losses(fitted.losses, fitted.booster.num_trees()),
        "slices": slices(compared.slices),
        "lift_by_slice": lift_by_slice(compared.slices),
    }
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=110, bbox_inches="tight")
        paths.append(path)
    return paths


def calibration(methods: Mapping[str, Reliability], ours: str = "model") -> Figure:
    """Mean predicted against mean actual of rows in bins of equal size, method by method; `ours` stands out."""
    figure = Figure(figsize=(5.5, 5.5))
    axes = figure.subplots()
    for name, bins in methods.items():
        mine = name == ours
        style = {"color": ACCENT, "lw": 2, "zorder": 3} if mine else {"alpha": 0.5, "lw": 1}
        axes.plot(bins.predicted, bins.actual, "o-", ms=4, label=name, **style)
    top = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, top], [0, top], color=MUTED, lw=1, ls="--")
    axes.set(xlabel="predicted probability", ylabel="share rewarded", title="Reliability on the test part")
    axes.legend(frameon=False, fontsize=8)
    return figure


def lift(methods: Mapping[str, Lift], ours: str = "model") -> Figure:
    """The share of all rewards found, and how many times the mean rate that is, by the share of rows, best first."""
    figure = Figure(figsize=(10, 4.5))
    for axes, attribute, label in zip(
        figure.subplots(1, 2),
        ("found", "lift"),
        ("share of the rewards in them", "rate over the mean rate"),
        strict=True,
    ):
        for name, curve in methods.items():
            mine = name == ours
            color, alpha = (ACCENT if mine else None), (1.0 if mine else 0.6)
            axes.plot(curve.share, getattr(curve, attribute), color=color, alpha=alpha, lw=1 + mine, label=name)
        axes.plot([0, 1], [0, 1] if attribute == "found" else [1, 1], color=MUTED, ls="--", lw=1, label="at random")
        axes.set(xlabel="share of rows, best first", ylabel=label)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle("Lift")
    return figure


def importances(booster: lightgbm.Booster) -> Figure:
    """Each feature's share of the gain of all splits."""
    gain = np.asarray(booster.feature_importance("gain"))
    share = gain / max(float(gain.sum()), 1e-12)
    order = np.argsort(share)[-FEATURES_SHOWN:]
    names = booster.feature_name()
    figure = Figure(figsize=(8, 0.28 * len(order) + 1))
    axes = figure.subplots()
    axes.barh([names[at] for at in order], share[order], color=ACCENT)
    axes.tick_params(labelsize=7)
    axes.set(xlabel="share of the gain of all splits", title="Feature importances")
    return figure


def shap_summary(booster: lightgbm.Booster, matrix: Matrix | Floats, seed: int = 0) -> Figure:
    """SHAP values (Lundberg, Lee 2017; of trees, as LightGBM computes them) of at most ROWS_EXPLAINED rows of `matrix`
    (rows, features): a dot for each row and feature, coloured from the feature's lowest value to its highest."""
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.choice(len(matrix), min(len(matrix), ROWS_EXPLAINED), replace=False))
    chosen = np.asarray(matrix, np.float64)[rows]
    values = np.asarray(booster.predict(chosen, pred_contrib=True))[:, :-1]
    order = np.argsort(np.abs(values).mean(axis=0))[-FEATURES_SHOWN:]
    names = booster.feature_name()
    figure = Figure(figsize=(8, 0.3 * len(order) + 1))
    axes = figure.subplots()
    for height, at in enumerate(order.tolist()):
        column = chosen[:, at]
        known = np.isfinite(column)
        level = np.full(len(column), np.nan)
        level[known] = np.argsort(np.argsort(column[known])) / max(int(known.sum()) - 1, 1)
        scatter = height + generator.uniform(-0.3, 0.3, len(column))
        axes.scatter(values[~known, at], scatter[~known], s=3, color=MUTED, linewidths=0)
        axes.scatter(
            values[known, at], scatter[known], c=level[known], s=3, cmap="coolwarm", vmin=0, vmax=1, linewidths=0
        )
    axes.axvline(0, color=MUTED, lw=1)
    axes.set_yticks(range(len(order)), [names[at] for at in order.tolist()], fontsize=7)
    axes.set(xlabel="SHAP value, log-odds (blue: low value of the feature, red: high, grey: missing)", title="SHAP")
    return figure


def slices(found: list[Slice]) -> Figure:
    """The model's metrics slice by slice, with their intervals."""
    names = [name for name in SLICED if any(name in each.metrics for each in found)]
    figure = Figure(figsize=(3.4 * len(names), 0.3 * len(found) + 1.2))
    labels = [f"{f'{it.attribute} = {it.value}' if it.value else it.attribute} ({it.queries:,})" for it in found]
    for at, (axes, name) in enumerate(zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True)):
        for height, each in enumerate(reversed(found)):
            if (interval := each.metrics.get(name)) is not None:
                axes.plot([interval.low, interval.high], [height, height], color=MUTED, lw=2)
                axes.plot(interval.value, height, "o", color=ACCENT, ms=4)
        axes.set_yticks(range(len(found)), labels[::-1] if at == 0 else [""] * len(found), fontsize=7)
        axes.set_title(name, fontsize=9)
    figure.tight_layout()
    return figure


def lift_by_slice(found: list[Slice]) -> Figure:
    """How many times the mean rate of its slice the best share of each slice's rows has, with intervals."""
    names = list(dict.fromkeys(each.attribute for each in found))
    figure = Figure(figsize=(4.2 * len(names), 4))
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names), sharey=True)), names, strict=True):
        for each in found:
            if each.attribute == name:
                label = f"{each.value or 'all'} ({each.queries:,})"
                (line,) = axes.plot(each.lift.share, each.lift.lift, lw=1.5, label=label)
                ends = [[mark.lift.low for mark in each.marks], [mark.lift.high for mark in each.marks]]
                axes.vlines([mark.share for mark in each.marks], *ends, color=line.get_color(), alpha=0.5)
        axes.axhline(1.0, color=MUTED, ls="--", lw=1)
        axes.set(xscale="log", xlabel="share of its rows, best first", title=name)
        axes.legend(frameon=False, fontsize=7)
    figure.axes[0].set_ylabel("rate over the slice's mean rate")
    figure.tight_layout()
    return figure


def comparison(methods: Mapping[str, Mapping[str, Interval]], ours: str = "model") -> Figure:
    """Every metric of some methods, or of some versions, side by side with its interval; `ours` stands out."""
    names = list(dict.fromkeys(name for metrics in methods.values() for name in metrics))
    figure = Figure(figsize=(3.2 * len(names), max(3.2, 0.3 * len(methods) + 1)))
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        present = [name for name, metrics in methods.items() if metric in metrics]
        for height, name in enumerate(present):
            interval = methods[name][metric]
            axes.barh(height, interval.value, color=ACCENT if name == ours else MUTED)
            if np.isfinite(interval.low):
                axes.plot([interval.low, interval.high], [height, height], color=INK, lw=1.5)
        axes.set_yticks(range(len(present)), present, fontsize=7)
        axes.set_title(metric, fontsize=9)
    figure.tight_layout()
    return figure


def qini(curves: Mapping[str, Qini]) -> Figure:
    """What treating the best share of all gains, by some scores, beside treating as many at random."""
    figure = Figure(figsize=(6, 4.5))
    axes = figure.subplots()
    for name, curve in curves.items():
        label = f"{name}: {curve.area * 1e3:.1f} ({curve.area_low * 1e3:.1f} to {curve.area_high * 1e3:.1f})"
        (line,) = axes.plot(curve.share, curve.gain, lw=2, label=label)
        axes.fill_between(curve.share, curve.low, curve.high, color=line.get_color(), alpha=0.12, lw=0)
        axes.plot([0, 1], [0, curve.gain[-1]], color=MUTED, ls="--", lw=1)
    axes.set(xlabel="share treated, best first", ylabel="outcomes added, per head of all", title="Qini")
    axes.legend(frameon=False, fontsize=8, title="area over chance, per 1,000", title_fontsize=8)
    return figure


def search(found: Found) -> Figure:
    """What each trial of a search scored on the validation part, the best so far, and how each parameter mattered."""
    scores = np.array([trial.score for trial in found.trials])
    names = list(found.trials[0].parameters)
    best = np.maximum.accumulate(scores) if found.metric in HIGHER else np.minimum.accumulate(scores)
    figure = Figure(figsize=(3.2 * (len(names) + 1), 3.4))
    axes = figure.subplots(1, len(names) + 1, sharey=True)
    axes[0].plot(scores, "o", color=MUTED, ms=4)
    axes[0].plot(best, color=ACCENT, lw=2)
    axes[0].set(xlabel="trial (0: as given)", ylabel=f"validation {found.metric}")
    for each, name in zip(axes[1:], names, strict=True):
        values = [trial.parameters[name] for trial in found.trials]
        each.scatter(values, scores, s=14, c=np.arange(len(scores)), cmap="Blues", edgecolors=MUTED, linewidths=0.5)
        each.plot(values[found.best], scores[found.best], "o", color=ACCENT, ms=6)
        each.set_xlabel(name)
    figure.tight_layout()
    return figure


def losses(parts: Mapping[str, list[float]], trees: int, loss: str = "log loss") -> Figure:
    """The loss of each part by the number of trees, and how many were kept."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for part, values in parts.items():
        axes.plot(np.arange(len(values)) + 1, values, label=part)
    axes.axvline(trees, color=MUTED, ls="--", lw=1)
    axes.set(xlabel="trees", ylabel=loss, title="Training")
    axes.legend(frameon=False)
    return figure
