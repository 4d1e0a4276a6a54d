"""Figures: each can be drawn of what there is, and holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightgbm
import msgspec
import numpy as np

from tests.training.test_intervals import make_queries
from training import plots
from training.baselines import Scored
from training.comparison import judge

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from training.comparison import Comparison


def compare() -> Comparison:
    queries = make_queries()
    queries = msgspec.structs.replace(queries, placement=["hero" if at % 3 else "grid" for at in range(len(queries))])
    chance = np.clip(queries.rewarded * 0.3 + np.random.default_rng(1).random(len(queries.owner)) * 0.4, 0.01, 0.99)
    model = Scored(name="model", score=chance, probability=chance)
    return judge(
        queries, np.arange(len(queries)) % 2 == 0, model, [Scored(name="popularity", score=1 - chance)], seed=1
    )


def grow() -> lightgbm.Booster:
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(2000, 3))
    rows[::7, 1] = np.nan
    table = lightgbm.Dataset(rows, (rows[:, 0] > 0.3).astype(float), feature_name=["known", "gappy", "noise"])
    return lightgbm.train({"objective": "binary", "verbosity": -1, "num_leaves": 8, "num_threads": 1}, table, 10)


def save(figure: Figure, folder: Path) -> None:
    path = folder / "figure.png"
    figure.savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_comparison_is_drawn_metric_by_metric(tmp_path: Path) -> None:
    compared = compare()
    judged = [compared.model, *compared.baselines]
    figure = plots.comparison({it.name: it.metrics for it in judged})
    assert [axes.get_title() for axes in figure.axes] == list(compared.model.metrics)
    save(figure, tmp_path)


def test_lift_and_calibration_are_drawn_method_by_method(tmp_path: Path) -> None:
    compared = compare()
    lifts = {it.name: it.lift for it in [compared.model, *compared.baselines] if it.lift}
    figure = plots.lift(lifts)
    assert [line.get_label() for line in figure.axes[1].get_lines()] == ["model", "popularity", "at random"]
    save(figure, tmp_path)
    assert compared.model.reliability is not None
    save(plots.calibration({"model": compared.model.reliability}), tmp_path)


def test_slices_stand_under_their_names(tmp_path: Path) -> None:
    figure = plots.slices(compare().slices)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert any(label.startswith("placement = hero") for label in labels)
    save(figure, tmp_path)


def test_every_slice_has_a_lift_curve_among_those_of_its_attribute(tmp_path: Path) -> None:
    found = compare().slices
    figure = plots.lift_by_slice(found)
    assert [axes.get_title() for axes in figure.axes] == ["all", "placement", "customer"]
    labels = figure.axes[1].get_legend_handles_labels()[1]
    assert labels == [f"{it.value} ({it.queries:,})" for it in found if it.attribute == "placement"]
    assert len(labels) == 2
    save(figure, tmp_path)


def test_what_a_model_uses_is_drawn_with_what_matters_most_on_top(tmp_path: Path) -> None:
    booster = grow()
    for figure in (
        plots.importances(booster),
        plots.shap_summary(booster, np.random.default_rng(3).normal(size=(1500, 3))),
    ):
        assert figure.axes[0].get_yticklabels()[-1].get_text() == "known"
        save(figure, tmp_path)


def test_missing_values_are_drawn_too(tmp_path: Path) -> None:
    rows = np.random.default_rng(4).normal(size=(50, 3))
    rows[:, 1] = np.nan
    save(plots.shap_summary(grow(), rows), tmp_path)
    save(plots.losses({"train": [0.6, 0.5], "validation": [0.6, 0.55]}, 2), tmp_path)
