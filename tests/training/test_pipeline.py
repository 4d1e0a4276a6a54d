"""`kairos train` from an archive to a promoted model, and what it does when there is none to be had."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import mlflow.artifacts
import mlflow.lightgbm
import msgspec
import numpy as np
import pytest
from rich.console import Console

from features import history
from features.settings import Settings
from features.store import open_store
from models import bundle, registry
from tests.training.archives import DAY, START, order_history, publish, track, visits, write
from tests.training.quiet import Quiet
from training import logged, pipeline, preparation
from training.dataset import Source
from training.labels import TrainingError
from training.metrics import AUC, LOSS, NDCG
from training.pipeline import Options, Report
from training.split import Dates
from training.terminal import show

if TYPE_CHECKING:
    from features.events.schema import Event
    from features.home import Home


@pytest.fixture
def settings(home: Home) -> Settings:
    """Nothing runs: the archive is all there is."""
    return Settings(home=home)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Report, Quiet]:
    """A model of a shop's orders."""
    from features.home import Home

    settings, stages = Settings(home=Home(tmp_path_factory.mktemp("shop"))), Quiet()
    order_history(settings.home)
    return settings, pipeline.train(settings, Options(), stages), stages


def test_a_model_of_orders_beats_popularity_and_is_promoted(trained: tuple[Settings, Report, Quiet]) -> None:
    settings, report, stages = trained
    assert stages.stages == ["archive", "labels", "history", "features", "fit", "evaluate", "register"]
    done, total = stages.done["features"]
    assert done == total > 0
    assert any("propensity is P(in the next one)" in text for text in stages.said)
    popularity = next(judged for judged in report.comparison.baselines if judged.name == "popularity")
    for metric, better in ((NDCG, 1), (AUC, 1), (LOSS, -1)):
        difference = report.comparison.difference(metric, popularity)
        assert difference is not None
        assert min(better * difference.low, better * difference.high) > 0, metric
    assert bundle.read_aliases(settings.home.bundles, "offers") == {"champion": "1"}
    described = report.registered.description
    assert (described.labels, described.reward, described.version) == ("bootstrap", "Order Completed", "1")
    assert described.metrics["ndcg_at_10"] == report.comparison.model.metrics[NDCG].value


def test_the_version_loads_with_plain_mlflow_and_as_a_bundle_with_equal_scores(
    trained: tuple[Settings, Report, Quiet],
) -> None:
    settings, report, _ = trained
    loaded = bundle.load(report.registered.bundle)
    registry.connect(settings)
    plain = mlflow.lightgbm.load_model("models:/offers@champion")
    rows = np.random.default_rng(1).random((50, len(loaded.description.signature.features)))
    assert np.array_equal(plain.predict(rows, raw_score=True), loaded.score(rows))
    assert plain.feature_name() == loaded.description.signature.names


def test_the_run_holds_parameters_metrics_plots_and_where_the_data_came_from(
    trained: tuple[Settings, Report, Quiet],
) -> None:
    settings, report, _ = trained
    client = registry.connect(settings)
    run = client.get_run(report.registered.run_id)
    assert run.data.metrics["auc"] == pytest.approx(report.comparison.model.metrics[AUC].value)
    assert "baseline/popularity/auc" in run.data.metrics
    assert run.data.params["num_leaves"] == "31"
    assert run.data.tags["data_digest"] == history.digest(settings.home)
    plots = {entry.path for entry in client.list_artifacts(run.info.run_id, "plots")}
    names = ("importances", "lift", "lift_by_slice", "losses", "metrics", "reliability", "shap", "slices")
    assert plots == {f"plots/{name}.png" for name in names}
    slices = msgspec.json.decode(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/slices.json"))
    assert len(slices) == len(report.comparison.slices)
    assert all(len(it["lift"]["found"]) == 100 and it["marks"] and it["metrics"]["ECE"]["low"] for it in slices)
    methods = msgspec.json.decode(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/metrics.json"))
    assert methods["popularity"]["AUC"]["value"] == run.data.metrics["baseline/popularity/auc"]
    version = client.get_model_version("offers", "1")
    assert version.tags["labels"] == "bootstrap"
    assert version.run_id == run.info.run_id


def test_the_same_archive_and_seed_give_the_same_model(trained: tuple[Settings, Report, Quiet]) -> None:
    settings, report, _ = trained
    again = pipeline.train(settings, Options(alias="challenger"), Quiet())
    aliases = bundle.read_aliases(settings.home.bundles, "offers")
    assert aliases == {"champion": "1", "challenger": again.registered.description.version}
    texts = [(each.registered.bundle / "model.txt").read_text() for each in (report, again)]
    assert texts[0] == texts[1]
    metrics = [msgspec.json.encode(each.comparison.model.metrics) for each in (report, again)]
    assert metrics[0] == metrics[1]


def test_the_terminal_shows_every_method_and_where_the_model_is(trained: tuple[Settings, Report, Quiet]) -> None:
    settings, report, _ = trained
    console = Console(record=True, width=100, file=io.StringIO())
    show(console, report)
    text = console.export_text()
    lines = text.splitlines()
    for name in ("random", "popularity", "buy again", "buy again, smoothed", "model"):
        assert any(line.startswith(f"│{name} ") for line in lines), name
    ndcg = report.comparison.model.metrics[NDCG]
    model = next(line for line in lines if line.startswith("│model"))
    assert f"{ndcg.value:.3f}" in model
    assert f"{ndcg.low:.3f}" in lines[lines.index(model) + 1]
    assert "propensity is P(in the next 'Order Completed')" in text
    assert f"offers 1, alias champion: {report.registered.bundle}" in text
    assert f"mlflow ui --backend-store-uri {settings.tracking_uri}" in text
    show(console, msgspec.structs.replace(report, tracking_uri="http://mlflow.example/"))
    registered = report.registered
    where = f"http://mlflow.example/#/experiments/{registered.experiment_id}/runs/{registered.run_id}"
    assert f"look    {where}" in console.export_text()
    assert report.registered.run_id in text


def test_exposures_give_a_model_of_clicks_that_serves_what_it_was_trained_on(
    home: Home, trained: tuple[Settings, Report, Quiet]
) -> None:
    shop = visits(home, count=700)
    elsewhere = Settings(home=home, mlflow_tracking_uri=trained[0].tracking_uri)
    report = pipeline.train(elsewhere, Options(labels="logged", name="clicks"), Quiet())
    assert not (home.root / "mlflow").exists()
    assert registry.connect(elsewhere).get_model_version_by_alias("clicks", "champion").run_id
    described = report.registered.description
    assert (described.labels, described.reward) == ("logged", "click")
    for baseline in report.comparison.baselines:
        difference = report.comparison.difference(AUC, baseline)
        assert difference is not None
        assert difference.low > 0.1, baseline.name
    assert NDCG not in report.comparison.model.metrics
    loaded = bundle.load(report.registered.bundle)
    served = np.concatenate([loaded.propensities(remembered.features) for remembered in shop.remembered])
    chunks = Source(home, open_store(home, preparation.OFFLINE)).read(logged.label(home))
    joined = np.concatenate([loaded.propensities(chunk.features) for chunk in chunks])
    assert np.array_equal(joined, served)


def test_nothing_to_learn_from_is_said_and_makes_nothing(home: Home, settings: Settings) -> None:
    with pytest.raises(TrainingError, match=r"no 'Order Completed' events in the archive \(there are: no events"):
        pipeline.train(settings, Options(), Quiet())
    write(home, [track("c-1", START, "Page Opened", {})])
    with pytest.raises(TrainingError, match=r"there are: 1 Page Opened"):
        pipeline.train(settings, Options(), Quiet())
    assert not home.bundles.exists()


def baskets(home: Home, nothing_in: str) -> None:
    """Orders of the same two products, of which one kind's are of a third in the days of the test."""
    events: list[Event] = []
    for number in range(120):
        ids = ["p-1", "p-2"] if nothing_in == "all" or number % 2 else ["p-3"]
        properties = {"products": [{"product_id": each} for each in ids]}
        events.append(track(f"c-{number % 7}", START + number * DAY // 4, "Order Completed", properties))
    write(home, [*events, publish(START + 40 * DAY)])


def test_labels_that_are_all_alike_are_refused_and_the_champion_stays(home: Home, settings: Settings) -> None:
    baskets(home, "all")
    bundle.write_alias(home.bundles, "offers", "champion", "7")
    with pytest.raises(TrainingError, match="training rows are rewarded: a model needs both kinds"):
        pipeline.train(settings, Options(), Quiet())
    assert bundle.read_aliases(home.bundles, "offers") == {"champion": "7"}


def test_dates_without_orders_are_refused(home: Home, settings: Settings) -> None:
    order_history(home, days=20)
    late = datetime.fromtimestamp((START + 30 * DAY) / 1e6, UTC).date()
    with pytest.raises(TrainingError, match="out of order"):
        pipeline.train(settings, Options(dates=Dates(test_from=late)), Quiet())


@pytest.mark.parametrize(
    ("options", "counts", "chosen"),
    [
        (Options(), {"Order Completed": 5, "Promotion Viewed": 900}, ("bootstrap", "Order Completed")),
        (Options(), {"Product Viewed": 5}, ("bootstrap", "Product Viewed")),
        (Options(), {"Order Completed": 5, "Promotion Viewed": 1000, "Promotion Clicked": 100}, ("logged", "click")),
        (Options(labels="logged"), {}, ("logged", "click")),
        (Options(reward="click"), {}, ("logged", "click")),
        (
            Options(reward="Product Viewed"),
            {"Product Viewed": 1, "Promotion Viewed": 5000, "Promotion Clicked": 500},
            ("bootstrap", "Product Viewed"),
        ),
    ],
)
def test_labels_are_chosen_by_what_there_is(options: Options, counts: dict[str, int], chosen: tuple[str, str]) -> None:
    assert preparation.choose(options, counts) == chosen


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (Options(labels="bootstrap", reward="click"), "needs --labels logged"),
        (Options(labels="logged", reward="Order Completed"), "needs --labels bootstrap"),
        (Options(labels="bootstrap", reward="Product Viewed"), "no 'Product Viewed' events"),
    ],
)
def test_labels_that_contradict_the_reward_are_refused(options: Options, problem: str) -> None:
    with pytest.raises(TrainingError, match=problem):
        preparation.choose(options, {"Order Completed": 3})
