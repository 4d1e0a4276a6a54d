"""Promotion: the registry, the bundle and the alias move together or not at all."""

from __future__ import annotations

import lightgbm
import mlflow
import mlflow.lightgbm
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from features.home import Home
from features.settings import Settings
from models import bundle, registry
from models.bundle import BundleError, Calibration, Description
from models.signature import Feature, Signature

NAMES = ["customer__any__recency", "candidate__price"]


def make_booster(seed: int = 0) -> lightgbm.Booster:
    rows = np.random.default_rng(seed).random((400, 2))
    table = lightgbm.Dataset(rows, (rows[:, 0] > 0.5).astype(float), feature_name=NAMES)
    return lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, table, 5)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One registry for all tests, each with a model of its own: a new database takes seconds."""
    return Settings(home=Home(tmp_path_factory.mktemp("registry")))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def promote(settings: Settings, name: str, booster: lightgbm.Booster, features: list[str] | None = None) -> Description:
    client = registry.connect(settings)
    experiment = registry.open_experiment(client, settings, "tests")
    with mlflow.start_run(experiment_id=experiment) as run:
        description = Description(
            name=name,
            version="",
            reward="click",
            labels="logged",
            signature=Signature(tuple(Feature(each) for each in features or NAMES)),
            calibration=Calibration((-1.0, 1.0), (0.1, 0.9)),
            run_id=run.info.run_id,
        )
        uri = registry.log_model(booster, description, pd.DataFrame(np.ones((2, 2)), columns=NAMES))
        return registry.promote(client, settings.home.bundles, "champion", description, booster, uri, {"digest": "abc"})


def versions(settings: Settings, name: str) -> list[str]:
    found = registry.connect(settings).search_model_versions(f"name = '{name}'")
    return sorted(str(each.version) for each in found)


def champion(settings: Settings, name: str) -> str:
    return str(registry.connect(settings).get_model_version_by_alias(name, "champion").version)


def test_a_promoted_version_is_in_registry_bundle_and_alias(settings: Settings, name: str) -> None:
    booster = make_booster()
    described = promote(settings, name, booster)
    assert described.version == "1"
    assert promote(settings, name, make_booster(1)).version == "2"
    assert champion(settings, name) == "2"
    assert registry.connect(settings).get_model_version(name, "1").tags == {"digest": "abc"}
    assert bundle.read_aliases(settings.home.bundles, name) == {"champion": "2"}
    rows = np.random.default_rng(3).random((20, 2))
    loaded = bundle.load(settings.home.bundles / name / "1")
    assert loaded.description == described
    assert np.array_equal(loaded.score(rows), booster.predict(rows, raw_score=True))
    assert np.array_equal(mlflow.lightgbm.load_model(f"models:/{name}/1").predict(rows), booster.predict(rows))
    assert list(settings.home.artifacts.rglob("model.lgb"))


def left_as_it_was(settings: Settings, name: str) -> None:
    assert versions(settings, name) == ["1"]
    assert champion(settings, name) == "1"
    assert bundle.read_aliases(settings.home.bundles, name) == {"champion": "1"}


def test_a_bundle_that_cannot_be_served_is_not_promoted(settings: Settings, name: str) -> None:
    promote(settings, name, make_booster())
    with pytest.raises(BundleError, match="features that cannot be filled: no_such_feature"):
        promote(settings, name, make_booster(), ["no_such_feature", "candidate__price"])
    left_as_it_was(settings, name)
    assert not (settings.home.bundles / name / "2").exists()


def test_a_bundle_of_another_registry_is_never_overwritten(settings: Settings, name: str) -> None:
    promote(settings, name, make_booster())
    foreign = settings.home.bundles / name / "2"
    foreign.mkdir()
    with pytest.raises(registry.RegistryError, match="holds a model of another registry"):
        promote(settings, name, make_booster())
    left_as_it_was(settings, name)
    assert foreign.exists()


def test_a_first_version_that_fails_leaves_no_alias(settings: Settings, name: str) -> None:
    with pytest.raises(BundleError):
        promote(settings, name, make_booster(), ["no_such_feature", "candidate__price"])
    assert versions(settings, name) == []
    with pytest.raises(MlflowException):
        champion(settings, name)
    assert bundle.read_aliases(settings.home.bundles, name) == {}


def test_a_broken_alias_file_stops_a_promotion_before_it_begins(settings: Settings, name: str) -> None:
    promote(settings, name, make_booster())
    (settings.home.bundles / name / "aliases.json").write_text("[")
    with pytest.raises(BundleError, match=r"aliases\.json"):
        promote(settings, name, make_booster())
    assert versions(settings, name) == ["1"]
