"""A version takes the champion's place when the evidence says so, and whatever goes wrong leaves the champion alone."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest

from features.home import Home
from features.settings import Settings
from models import bundle, registry
from models.bundle import Calibration, Description
from models.registry import RegistryError
from models.signature import Feature, Signature
from tests.training.archives import order_history, visits
from tests.training.quiet import Quiet
from tests.training.test_skew import meddle, rewrite
from training import commands, faults, fit, pipeline
from training.gates import Verdict
from training.judgement import Champion, find_champion
from training.labels import TrainingError
from training.options import Options
from training.versions import moving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


STRONG = fit.Options(trees=40, learning_rate=0.1)
NAMES = ["customer__any__recency", "candidate__price"]


def promote(settings: Settings, trees: int) -> Description:
    """What the end of a training does, with a model that knows nothing."""
    rows = np.random.default_rng(trees).random((4000, 2))
    table = lightgbm.Dataset(rows, (rows[:, 0] > rows[:, 1]).astype(float), feature_name=NAMES)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, table, trees)
    with faults.told(settings):
        client = registry.connect(settings)
        experiment = registry.open_experiment(client, settings, "tests")
        with mlflow.start_run(experiment_id=experiment) as run:
            described = Description(
                name="offers", version="", reward="click", labels="logged", run_id=run.info.run_id,
                signature=Signature(tuple(Feature(each) for each in NAMES)), calibration=Calibration((0.0,), (0.5,)),
            )  # fmt: skip
            uri = registry.log_model(booster, described, pd.DataFrame(np.ones((2, 2)), columns=NAMES))
            return registry.promote(client, settings.home.bundles, "champion", described, booster, uri, {})


class Shop:
    """A shop whose champion, version 1, knows nothing, and the training that is to take its place."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.settings = Settings(home=self.home)
        visits(self.home, count=500)
        promote(self.settings, 2)
        self.report = pipeline.train(self.settings, Options(labels="logged", fit=STRONG, promote=True), Quiet())

    @property
    def champion(self) -> str | None:
        return bundle.read_aliases(self.home.bundles, "offers").get("champion")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


def test_a_better_model_takes_the_champions_place(shop: Shop) -> None:
    assert shop.report.registered.is_moved, shop.report.verdicts
    assert shop.champion == "2"
    verdict = next(it for it in shop.report.verdicts if it.gate == "better than the champion")
    assert verdict.figure.startswith("log loss better by +")
    described = bundle.load(shop.report.registered.bundle).description
    assert described.gates["better than the champion"]["figure"] == verdict.figure
    version = registry.connect(shop.settings).get_model_version("offers", "2")
    assert version.tags["gates"] == "holds"
    assert version.tags["gate.skew"].startswith("holds: none in 500 decisions")
    names = [judged.name for judged in shop.report.comparison.baselines]
    assert "champion, version 1" in names


def test_one_that_is_no_better_is_kept_with_its_verdict_and_the_command_ends_with_three(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.train(home=shop.home.root, labels="logged", trees=40, learning_rate=0.1, promote=True)
    assert ended.value.code == 3
    told = " ".join(capsys.readouterr().out.split())
    assert "champion stays as it was: better than the champion: log loss better by" in told
    assert shop.champion == "2"
    assert (
        bundle.load(shop.home.bundles / "offers" / "3").description.gates["better than the champion"]["holds"] is False
    )
    version = registry.connect(shop.settings).get_model_version("offers", "3")
    assert version.tags["gate.better_than_the_champion"].startswith("fails: log loss better by")
    before, now = moving.roll_back(shop.settings, "offers", "champion")
    assert (before, now.description.version, shop.champion) == ("2", "1", "1")


@pytest.mark.parametrize(
    ("options", "champion", "holds", "moves"),
    [
        (Options(), None, True, True),
        (Options(), None, False, False),
        (Options(), Champion("1", None), True, True),
        (Options(promote=True), None, False, False),
        (Options(alias="challenger"), None, False, True),
        (Options(alias="challenger", promote=True), None, False, False),
        (Options(alias="challenger", promote=True), None, True, True),
    ],
)
def test_the_alias_moves_when_it_should(options: Options, champion: Champion | None, holds: bool, moves: bool) -> None:
    verdicts = [Verdict(gate="any", holds=holds, figure="", bound="")]
    assert pipeline.decide(options, champion, verdicts) is moves


def test_a_champion_that_serves_stays_unless_asked_to_go(shop: Shop) -> None:
    champion = find_champion(shop.home.bundles, "offers", "champion")
    assert champion is not None
    verdicts = [Verdict(gate="any", holds=True, figure="", bound="")]
    assert not pipeline.decide(Options(), champion, verdicts)
    assert pipeline.decide(Options(promote=True), champion, verdicts)


def test_a_sabotaged_feature_keeps_even_a_first_model_from_serving(tmp_path: Path) -> None:
    home = Home(tmp_path / "meddled")
    rewrite(home, visits(home, count=300), meddle)
    report = pipeline.train(Settings(home=home), Options(labels="logged", fit=STRONG), Quiet())
    assert report.is_refused
    skewed = next(it for it in report.verdicts if it.gate == "skew")
    assert skewed.holds is False
    assert skewed.figure.startswith("customer__any__recency ")
    assert bundle.read_aliases(home.bundles, "offers") == {}


def test_an_archive_file_that_is_cut_is_named(home: Home) -> None:
    order_history(home, days=5)
    bundle.write_alias(home.bundles, "offers", "champion", "7")
    path = min(home.events.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=rf"{path.name} of the archive cannot be read"):
        pipeline.train(Settings(home=home), Options(), Quiet())
    assert bundle.read_aliases(home.bundles, "offers") == {"champion": "7"}
    assert not (home.root / "mlflow").exists()


def test_an_mlflow_that_does_not_answer_is_told_before_anything_is_done(home: Home) -> None:
    stages = Quiet()
    away = Settings(home=home, mlflow_tracking_uri="http://127.0.0.1:1")
    with pytest.raises(RegistryError, match=r"MLflow at http://127.0.0.1:1 does not answer"):
        pipeline.train(away, Options(), stages)
    assert stages.stages == []


class Unwell(BaseHTTPRequestHandler):
    """Says that it is well, and hangs up on every wish."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send_response(200)
            self.end_headers()
        else:
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name it is called by
        """Nothing is printed."""


def test_an_mlflow_database_that_is_none_is_told_before_anything_is_done(home: Home) -> None:
    stages = Quiet()
    (home.root / "mlflow").mkdir()
    (home.root / "mlflow" / "mlflow.db").write_text("no database, however long")
    with pytest.raises(RegistryError, match=r"MLflow's database .*mlflow.db cannot be used \(file is not a database\)"):
        pipeline.train(Settings(home=home), Options(), stages)
    assert stages.stages == []


def test_a_folder_that_mlflow_cannot_have_is_told_and_the_champion_stays(home: Home) -> None:
    order_history(home, days=40)
    bundle.write_alias(home.bundles, "offers", "champion", "7")
    (home.root / "mlflow").write_text("a file")
    with pytest.raises(RegistryError, match=r"mlflow/artifacts cannot be written .*nothing was registered"):
        pipeline.train(Settings(home=home), Options(fit=STRONG), Quiet())
    assert bundle.read_aliases(home.bundles, "offers") == {"champion": "7"}
    assert [path.name for path in home.bundles.glob("offers/*/")] == []


def test_an_mlflow_that_is_lost_on_the_way_is_told_and_leaves_no_version(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = HTTPServer(("127.0.0.1", 0), Unwell)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = Settings(home=home, mlflow_tracking_uri=f"http://127.0.0.1:{server.server_port}")
    try:
        faults.require_reachable(settings)
        with pytest.raises(RegistryError, match=r"MLflow at http://127.* was lost"), faults.told(settings):
            registry.open_experiment(registry.connect(settings), settings, "kairos")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not home.bundles.exists()


@contextlib.contextmanager
def quota() -> Iterator[None]:
    """No file may grow beyond what a model's text has."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def ballast(folder: Path) -> Iterator[None]:
    """Fill the disk but for a little."""
    path = folder / "ballast"
    free = shutil.disk_usage(folder).free
    path.write_bytes(bytes(free - 150_000))
    try:
        yield
    finally:
        path.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield folder
    mlflow.set_tracking_uri("")
    subprocess.run(["umount", "-l", str(folder)], check=True)


def assert_untouched(settings: Settings) -> None:
    client = registry.connect(settings)
    assert [str(it.version) for it in client.search_model_versions("name = 'offers'")] == ["1"]
    assert str(client.get_model_version_by_alias("offers", "champion").version) == "1"
    assert bundle.read_aliases(settings.home.bundles, "offers") == {"champion": "1"}
    assert sorted(path.name for path in (settings.home.bundles / "offers").iterdir()) == [
        "1",
        "aliases.json",
        "moves.jsonl",
    ]
    bundle.load(settings.home.bundles / "offers" / "1")


def test_a_full_disk_while_registering_leaves_the_champion_and_nothing_half_made(small_disk: Path) -> None:
    settings = Settings(home=Home(small_disk))
    promote(settings, 3)
    with ballast(small_disk), pytest.raises(RegistryError, match="the disk is full"):
        promote(settings, 300)
    assert_untouched(settings)
    assert promote(settings, 4).version == "2"


def test_a_quota_while_registering_leaves_the_champion_and_nothing_half_made(home: Home) -> None:
    settings = Settings(home=home)
    promote(settings, 3)
    with quota(), pytest.raises(RegistryError, match="the disk is full"):
        promote(settings, 400)
    assert_untouched(settings)
