"""Parameters that are looked for: within a budget, by validation alone, and never worse there than those given."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import mlflow
import msgspec
import pytest
from rich.console import Console

from features.settings import Settings
from models import registry
from tests.training.archives import visits
from tests.training.quiet import Quiet
from tests.training.test_fit import NUMBERS, part
from training import fit, pipeline, plots, search
from training.fit import Options
from training.labels import TrainingError
from training.options import Options as Asked
from training.search import Budget, Found
from training.terminal import show

if TYPE_CHECKING:
    from features.home import Home
    from training.fitting import Rows

SMALL = Options(trees=40, learning_rate=0.1, patience=10)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return fit.prepare(part(1), part(2), NUMBERS, SMALL, 1.0)


def look(rows: Rows, budget: Budget, options: Options = SMALL) -> tuple[Found, str]:
    fitted, chosen = search.search(rows, options, budget)
    assert fitted.search is not None
    best = fitted.search.trials[fitted.search.best]
    assert (chosen.leaves, chosen.learning_rate) == (best.parameters["leaves"], best.parameters["learning_rate"])
    return fitted.search, fitted.booster.model_to_string()


@pytest.mark.parametrize("objective", ["binary", "ranking"])
def test_the_best_trial_is_never_worse_than_the_first_which_is_what_was_given(rows: Rows, objective: str) -> None:
    options = msgspec.structs.replace(SMALL, objective=objective)
    found, text = look(rows, Budget(trials=6), options)
    first, best = found.trials[0], found.trials[found.best]
    assert len(found.trials) == 6
    assert first.parameters == pytest.approx(
        {"learning_rate": 0.1, "leaves": 31, "smallest_leaf": 10, "feature_share": 0.5, "row_share": 0.8, "ridge": 5.0}
    )
    sign = 1.0 if objective == "binary" else -1.0
    assert sign * best.score == min(sign * trial.score for trial in found.trials) <= sign * first.score
    if found.best == 0:
        assert text == fit.grow(rows, options).booster.model_to_string()


def test_the_first_trial_is_the_model_that_is_trained_without_a_search(rows: Rows) -> None:
    _, text = look(rows, Budget(trials=1))
    assert text == fit.fit(part(1), part(2), NUMBERS, SMALL, 1.0).booster.model_to_string()


def test_the_same_seed_tries_the_same_and_another_one_others(rows: Rows) -> None:
    once, twice = (look(rows, Budget(trials=4)) for _ in range(2))
    tried = [[trial.parameters for trial in found.trials] for found, _ in (once, twice)]
    assert tried[0] == tried[1]
    assert once[1] == twice[1]
    other, _ = look(rows, Budget(trials=4), msgspec.structs.replace(SMALL, seed=1))
    assert [trial.parameters for trial in other.trials[1:]] != tried[0][1:]


def test_a_time_is_kept_but_for_the_trial_that_runs_and_given_parameters_may_lie_anywhere(rows: Rows) -> None:
    told: list[tuple[int, int]] = []
    wide = msgspec.structs.replace(SMALL, learning_rate=0.5, leaves=3, ridge=0.0001)
    fitted, _ = search.search(rows, wide, Budget(seconds=1.5), lambda done, total: told.append((done, total)))
    assert fitted.search is not None
    before = sum(trial.seconds for trial in fitted.search.trials[:-1])
    assert before < 1.5
    assert fitted.search.trials[0].parameters["learning_rate"] == 0.5
    assert told[-1] == (1, 1)


@pytest.mark.parametrize("text", ["0", "many", "-3", "0s", "1e3", ""])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(TrainingError, match="a number of trials such as 40, or a time such as 30m"):
        search.parse(text)


def test_budgets_are_trials_or_times() -> None:
    assert search.parse("40") == Budget(trials=40)
    assert search.parse("1h30m") == Budget(seconds=5400.0)


def test_a_training_looks_learns_values_and_tells_the_run_all_of_it(home: Home) -> None:
    visits(home, count=400)
    settings, stages = Settings(home=home), Quiet()
    asked = Asked(labels="logged", fit=SMALL, search=Budget(trials=3))
    report = pipeline.train(settings, asked, stages)
    assert stages.done["search"] == (3, 3)
    assert any(text.startswith("search: 3 trials, validation log loss ") for text in stages.said)
    client = registry.connect(settings)
    run = client.get_run(report.registered.run_id)
    assert run.data.params["search_trials"] == "3"
    assert run.data.metrics["search_best"] <= run.data.metrics["search_first"]
    assert "plots/search.png" in {entry.path for entry in client.list_artifacts(run.info.run_id, "plots")}
    table = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/search.json"))
    assert table["columns"][0] == "trial"
    assert len(table["data"]) == 3
    console = Console(record=True, width=100, file=io.StringIO())
    show(console, report)
    assert "What a reward brings" not in console.export_text()


def test_a_search_is_drawn(rows: Rows) -> None:
    found, _ = look(rows, Budget(trials=3))
    figure = plots.search(found)
    assert len(figure.axes) == 7
