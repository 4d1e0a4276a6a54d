"""`kairos train --cluster`: two workers give the model that one process gives, and what goes wrong there is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from features.home import Home
from features.settings import Settings
from models.bundle import CHAMPION, read_aliases
from tests.training.archives import visits
from tests.training.quiet import Quiet
from training import fit, pipeline
from training.cluster import connection, probing
from training.labels import TrainingError
from training.metrics import AUC, LOSS
from training.options import Options
from training.search import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Until
    from training.pipeline import Report

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = Options(labels="logged", fit=fit.Options(trees=40, patience=10))


class Cluster:
    """A Dask scheduler and two workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self._log = (folder / "dask.log").open("ab")
        self._folder = folder
        self._scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        self.workers: list[subprocess.Popen[bytes]] = []
        for _ in range(2):
            self.start_worker()

    def start_worker(self, path: Path = ROOT) -> subprocess.Popen[bytes]:
        """`path`: where its modules are looked for first."""
        quiet = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self._folder / "scratch"))
        self.workers.append(self._start("worker", self.address, "--host", "127.0.0.1", *quiet, path=path))
        return self.workers[-1]

    def _start(self, *arguments: str, path: Path = ROOT) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *arguments]
        environment = os.environ | {"PYTHONPATH": str(path)}
        return subprocess.Popen(command, stdout=self._log, stderr=self._log, env=environment, cwd=self._folder)

    def stop(self) -> None:
        for process in [*self.workers, self._scheduler]:
            process.kill()
            process.wait()
        self._log.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    from distributed import Client

    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    try:
        with Client(cluster.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Report]:
    """A shop with a champion that one process trained."""
    settings = Settings(home=Home(tmp_path_factory.mktemp("shop")))
    visits(settings.home, 600)
    return settings, pipeline.train(settings, OPTIONS, Quiet())


def addresses(client: Any) -> list[str]:
    return list(client.scheduler_info(n_workers=-1)["workers"])


def trained_on(address: str, settings: Settings, **changes: Any) -> tuple[Report, Quiet]:
    stages = Quiet()
    options = msgspec.structs.replace(OPTIONS, cluster=address, alias="challenger", **changes)
    return pipeline.train(settings, options, stages), stages


def test_two_workers_give_a_model_as_good_as_one_process(cluster: Cluster, shop: tuple[Settings, Report]) -> None:
    settings, alone = shop
    (settings.home.history / "digest").unlink()  # so that the workers rebuild the history too
    report, stages = trained_on(cluster.address, settings)
    assert stages.stages == ["cluster", "archive", "labels", "history", "features", "fit", "evaluate", "register"]
    assert any(f"2 workers at {cluster.address}" in text for text in stages.said)
    mine, theirs = report.comparison.model.metrics, alone.comparison.model.metrics
    assert mine[AUC].value == pytest.approx(theirs[AUC].value, abs=0.02)
    assert mine[LOSS].value == pytest.approx(theirs[LOSS].value, abs=0.02)
    assert mine[AUC].value > 0.7
    assert report.registered.description.signature == alone.registered.description.signature
    assert report.registered.description.data_digest == alone.registered.description.data_digest
    trees, others = (it.registered.bundle / "model.txt" for it in (report, alone))
    assert 0.5 < trees.read_text().count("\nTree=") / others.read_text().count("\nTree=") < 2


def test_rows_are_joined_on_workers_as_in_one_process(cluster: Cluster, shop: tuple[Settings, Report]) -> None:
    from features.store import open_store
    from training import parts, preparation
    from training.cluster import joining
    from training.dataset import Source

    settings, _ = shop
    labelled = preparation.label(settings, OPTIONS, Quiet())
    queries = labelled.parts["train"]
    signature = parts.describe(settings.home, labelled.queries)
    keep = parts.thin(queries.rewarded, 0.5, 3)
    store = open_store(settings.home, preparation.OFFLINE)
    expected = parts.gather(Source(settings.home, store), queries, signature, keep, ("candidate__value",))
    with connection.connect(cluster.address, settings.home) as client:
        held = joining.join(client, settings.home, queries, signature, keep, ("candidate__value",), rows=400)
        found = joining.bring(client, held)
        assert len(held.spans) > 2
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    np.testing.assert_array_equal(found.rewarded, expected.rewarded)
    np.testing.assert_array_equal(found.owner, expected.owner)
    np.testing.assert_array_equal(found.place, expected.place)
    np.testing.assert_array_equal(found.extra["candidate__value"], expected.extra["candidate__value"])


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nonsense", "give a Dask scheduler's address"),
        ("local:0", "give a Dask scheduler's address"),
        ("tcp://127.0.0.1:1", "does not answer"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_and_the_champion_stays(
    shop: tuple[Settings, Report], address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 1.0)
    settings, alone = shop
    before = read_aliases(settings.home.bundles, OPTIONS.name)
    with pytest.raises(TrainingError, match=told):
        trained_on(address, settings)
    assert read_aliases(settings.home.bundles, OPTIONS.name) == before
    assert before[CHAMPION] == alone.registered.description.version


def test_a_search_is_refused_on_a_cluster(shop: tuple[Settings, Report]) -> None:
    with pytest.raises(TrainingError, match="leave out --search or --cluster"):
        trained_on("local:2", shop[0], search=Budget(trials=2))


def test_workers_that_lack_the_program_are_named(
    cluster: Cluster, shop: tuple[Settings, Report], tmp_path: Path, until: Until
) -> None:
    from distributed import Client

    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    stranger = cluster.start_worker(path=tmp_path)
    try:
        with Client(cluster.address) as client:
            until(lambda: len(addresses(client)) == 3 or None)
        with pytest.raises(TrainingError, match=r"tcp://.*no module 'training.cluster'.*install kairos\[cluster\]"):
            trained_on(cluster.address, shop[0])
    finally:
        stranger.kill()
        stranger.wait()


def test_workers_of_another_environment_or_without_the_home_are_told_what_to_do(home: Home) -> None:
    mine = probing.versions()
    assert probing.judge(probing.Found(mine, True), mine, home) is None
    other = probing.judge(probing.Found(mine | {"lightgbm": "4.0.0"}, True), mine, home)
    assert other is not None
    assert "lightgbm 4.0.0 instead of" in other
    blind = probing.judge(probing.Found(mine, False), mine, home)
    assert blind is not None
    assert f"does not see {home.root}: mount" in blind


def test_a_worker_that_dies_while_trees_grow_is_told_and_the_champion_stays(
    cluster: Cluster, shop: tuple[Settings, Report], until: Until
) -> None:
    """The last one of this cluster: LightGBM on the other workers waits for the one that is gone."""
    from distributed import Client

    settings, _ = shop
    before = read_aliases(settings.home.bundles, OPTIONS.name)
    over = threading.Event()
    with Client(cluster.address, set_as_default=False) as client:

        def grows() -> bool:
            return any("train_part" in str(key) for keys in client.processing().values() for key in keys)

        def kill_in_the_middle() -> None:
            until(lambda: over.is_set() or grows(), seconds=600)
            cluster.workers[0].kill()

        killer = threading.Thread(target=kill_in_the_middle)
        killer.start()
        try:
            with pytest.raises(TrainingError, match=r"the cluster lost tcp://.* while the trees grew.*train anew"):
                trained_on(cluster.address, settings, fit=fit.Options(trees=2000, patience=10))
        finally:
            over.set()
            killer.join()
    assert read_aliases(settings.home.bundles, OPTIONS.name) == before
