"""`kairos models ramp` beside a running service and visitors of the simulated world: a good challenger comes to serve
everybody, a sabotaged one is taken back by itself, and what is in the way is said.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest

from features.home import Home
from features.settings import Settings
from models import registry
from models.bundle import CHAMPION, Calibration, Description, read_aliases
from models.moves import read_moves
from models.ramped import read_ramps
from models.signature import Feature, Signature
from service.ramps import commands, state, steering
from tests.service import running
from tests.service.running import PROJECT, WITHOUT_TLS, wait_until
from training.simulation import catalog as simulated
from training.simulation.world import Nature, build, click_probabilities
from training.versions.moving import RAMP_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.running import Service

NAME = "offers"
WORLD = build(np.random.default_rng(7), 60, Nature(floor=0.3, taste=0.0, interest=0.0, bargain=0.5, tired=1.0))
"""Who clicks goes by the price, so that a model of the price alone is a good one, or as bad as can be."""
PRICE = "candidate__price"
CATALOG = simulated.write(WORLD)
NUMBERS = count()
"""Of visits, in all tests."""
QUICK = ("--steps", "20", "50", "100", "--every", "1s", "--min-units", "100", "--min-time", "0s")


def grow(likes: float) -> lightgbm.Booster:
    """A model that prefers cheap offers (`likes` 1) or dear ones (-1)."""
    prices = np.array([[offer.price] for offer in WORLD.offers] * 20)
    table = lightgbm.Dataset(prices, -likes * np.log(prices[:, 0]), feature_name=[PRICE])
    parameters = {"objective": "regression", "num_leaves": 16, "min_data_in_leaf": 1, "verbosity": -1, "num_threads": 1}
    return lightgbm.train(parameters, table, 20)


def register(settings: Settings) -> None:
    """Version 1 likes what nobody clicks and is the champion; 2 is good; 3 is as bad as 1."""
    client, signature = registry.connect(settings), Signature((Feature(PRICE),))
    experiment = registry.open_experiment(client, settings, "tests")
    with mlflow.start_run(experiment_id=experiment) as run:
        described = Description(
            name=NAME, version="", reward="click", labels="logged", run_id=run.info.run_id, signature=signature,
            gates={"skew": {"holds": True, "figure": "none", "bound": ""}},
            calibration=Calibration((-6.0, 6.0), (0.1, 0.9)),
        )  # fmt: skip
        uri = registry.log_model(grow(1.0), described, pd.DataFrame({PRICE: [1.0, 2.0]}))
        for likes in (-1.0, 1.0, -1.0):  # the trees that serve are those of the bundle
            registry.register(client, settings.home.bundles, described, grow(likes), uri, {})
    for alias, version in ((CHAMPION, "1"), ("challenger", "2")):
        registry.point(client, settings.home.bundles, NAME, alias, version)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(home=Home(tmp_path_factory.mktemp("ramps") / "home"))
    settings.home.root.mkdir()
    settings.home.catalog.write_text(CATALOG)
    register(settings)
    return settings


@pytest.fixture(scope="module")
def shop(settings: Settings) -> Iterator[Service]:
    started = running.start(settings.home, workers=1)
    yield started
    running.stop(started)


def is_counting(home: Home) -> bool:
    """Whether a ramp looks at what visitors do."""
    known = state.read(home, NAME)
    return known is not None and known.began > 0 and known.ending is None


class Visitors:
    """Visitors who look at the page and click by the world's chances, of whom every third comes again and again."""

    def __init__(self, service: Service) -> None:
        self._service, self._done = service, threading.Event()
        self._threads = [threading.Thread(target=self._come, args=(seed,)) for seed in range(2)]
        self.failed: list[str] = []

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _come(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        chances = click_probabilities(WORLD, 0, np.zeros(len(WORLD.categories)), np.zeros(len(WORLD.offers), np.int64))
        with httpx.Client(base_url=self._service.http.base_url, timeout=running.PATIENCE, verify=WITHOUT_TLS) as http:
            while not self._done.wait(0.0 if is_counting(self._service.home) else 0.1):
                if not is_counting(self._service.home):
                    continue  # the machine has enough to do
                batch: list[dict[str, Any]] = []
                for _ in range(20):
                    number = next(NUMBERS)
                    who = f"v-{number if number % 3 else number % 60}"
                    answer = http.post("/v1/decisions", json={"customer_id": who, "placements": [{"id": "home-hero"}]})
                    if answer.status_code != 200:
                        self.failed.append(answer.text)
                        continue
                    batch += told(who, answer.json(), generator, chances)
                http.post("/v1/batch", json={"batch": batch})


def told(who: str, answer: dict[str, Any], generator: np.random.Generator, chances: Any) -> list[dict[str, Any]]:
    """A view, and perhaps a click."""
    item = answer["placements"][0]["items"][0]["id"]
    said = {"promotion_id": item, "decision_id": answer["decision_id"], "placement": "home-hero"}
    names = ["Promotion Viewed", *(["Promotion Clicked"] if generator.random() < chances[WORLD.index[item]] else [])]
    return [{"type": "track", "userId": who, "event": name, "properties": said} for name in names]


@contextlib.contextmanager
def killed_at_the_end(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command, killed as by a power cut when the test has waited long enough."""
    command = [sys.executable, "-m", "kairos", "models", "ramp", *arguments, "--home", str(settings.home.root)]
    driven = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
    try:
        yield driven
    finally:
        driven.kill()
        driven.wait()


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """The command ends by SIGTERM as by Ctrl-C; tests do not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def share(settings: Settings) -> float | None:
    """Of the challenger, by what the ramp keeps; None: no ramp is under way, or its step is not live yet."""
    known = state.read(settings.home, NAME)
    return None if known is None or not known.began else known.share


def test_a_good_challenger_comes_to_serve_everybody_though_the_ramp_is_killed(
    settings: Settings, shop: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "SETTLING", 1.0)
    with Visitors(shop) as visitors:
        with killed_at_the_end(settings, *QUICK) as driven:
            wait_until(lambda: share(settings) == 0.5 or driven.poll() is not None, 200)
        with pytest.raises(SystemExit) as ended:
            commands.ramp(steps=(20.0, 50.0, 100.0), every="1s", min_units=100, min_time="0s", home=settings.home.root)
        shop.everywhere(lambda ready: ready["models"]["champion"] == "offers/2")
    assert ended.value.code == 0
    assert visitors.failed == []
    assert "it goes on at 50 %" in capsys.readouterr().out
    assert settings.home.catalog.read_text() == CATALOG
    (told,) = read_ramps(settings.home.bundles, NAME, "2")
    assert (told.outcome, told.beside, [step.share for step in told.steps]) == ("promoted", "1", [0.2, 0.5, 1.0])
    clicks = told.steps[0].guards[0]
    assert (clicks.name, clicks.state) == ("click rate", "holds")
    assert clicks.low is not None
    assert clicks.low > 0.0
    version = registry.connect(settings).get_model_version_by_alias(NAME, CHAMPION)
    assert (str(version.version), "promoted" in version.tags[RAMP_TAG]) == ("2", True)
    assert read_moves(settings.home.bundles, NAME)[-1].reason == "ramp ramp-offers-2-1: every step's guardrails held"


def test_a_sabotaged_challenger_is_taken_back_by_itself(
    settings: Settings, shop: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "SETTLING", 1.0)
    with Visitors(shop) as visitors, pytest.raises(SystemExit) as ended:
        commands.ramp("3", steps=(30.0, 100.0), every="1s", min_units=1000, min_time="0s", home=settings.home.root)
    assert ended.value.code == commands.TAKEN_BACK
    assert visitors.failed == []
    assert "taken back: at 30%: click rate" in " ".join(capsys.readouterr().out.split())
    assert read_aliases(settings.home.bundles, NAME) == {CHAMPION: "2"}
    assert settings.home.catalog.read_text() == CATALOG
    (told,) = read_ramps(settings.home.bundles, NAME, "3")
    clicks = told.steps[0].guards[0]
    assert (told.outcome, clicks.state) == ("taken back", "worse")
    assert clicks.high is not None
    assert clicks.high < 0.0
    version = registry.connect(settings).get_model_version(NAME, "3")
    assert (dict(version.tags)[RAMP_TAG].count("taken back"), list(version.aliases)) == (1, [])
