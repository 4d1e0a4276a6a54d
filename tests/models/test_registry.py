"""Promotion: the registry, the bundle and the alias move together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightgbm
import mlflow
import mlflow.lightgbm
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from features.settings import Settings
from models import bundle, registry
from models.bundle import BundleError, Calibration, Description
from models.signature import Feature, Signature

if TYPE_CHECKING:
    from pathlib import Path

    from features.home import Home

NAMES = ["customer__any__recency", "candidate__price"]


def make_booster(seed: int = 0) -> lightgbm.Booster:
    rows = np.random.default_rng(seed).random((400, 2))
    table = lightgbm.Dataset(rows, (rows[:, 0] > 0.5).astype(float), feature_name=NAMES)
    return lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, table, 5)


def describe(run_id: str, features: list[str] | None = None) -> Description:
    return Description(
        name="offers",
        version="",
        reward="click",
        labels="logged",
        signature=Signature(tuple(Feature(name) for name in features or NAMES)),
        calibration=Calibration((-1.0, 1.0), (0.1, 0.9)),
        run_id=run_id,
    )


def promote(settings: Settings, booster: lightgbm.Booster, features: list[str] | None = None) -> Description:
    client = registry.connect(settings)
    experiment = registry.open_experiment(client, settings, "tests")
    with mlflow.start_run(experiment_id=experiment) as run:
        description = describe(run.info.run_id, features)
        example = pd.DataFrame(np.ones((2, 2)), columns=NAMES)
        uri = registry.log_model(booster, description, example)
        return registry.promote(
            client, settings.home.bundles, "champion", description, booster, uri, {"data_digest": "abc"}
        )


@pytest.fixture
def settings(home: Home) -> Settings:
    return Settings(home=home)


def versions(settings: Settings) -> list[str]:
    found = registry.connect(settings).search_model_versions("name = 'offers'")
    return sorted(str(each.version) for each in found)


def test_a_promoted_version_is_in_registry_bundle_and_alias(settings: Settings) -> None:
    booster = make_booster()
    described = promote(settings, booster)
    assert described.version == "1"
    assert promote(settings, make_booster(1)).version == "2"
    client = registry.connect(settings)
    assert client.get_model_version_by_alias("offers", "champion").version == "2"
    assert client.get_model_version("offers", "1").tags == {"data_digest": "abc"}
    assert bundle.read_aliases(settings.home.bundles, "offers") == {"champion": "2"}
    rows = np.random.default_rng(3).random((20, 2))
    loaded = bundle.load(settings.home.bundles / "offers" / "1")
    assert loaded.description == described
    assert np.array_equal(loaded.score(rows), booster.predict(rows, raw_score=True))
    assert np.array_equal(mlflow.lightgbm.load_model("models:/offers/1").predict(rows), booster.predict(rows))


def test_artifacts_stay_in_the_home(settings: Settings) -> None:
    promote(settings, make_booster())
    assert list(settings.home.artifacts.rglob("model.lgb"))


def left_as_it_was(settings: Settings) -> None:
    assert versions(settings) == ["1"]
    client = registry.connect(settings)
    assert client.get_model_version_by_alias("offers", "champion").version == "1"
    assert bundle.read_aliases(settings.home.bundles, "offers") == {"champion": "1"}


def test_a_bundle_that_cannot_be_served_is_not_promoted(settings: Settings) -> None:
    promote(settings, make_booster())
    with pytest.raises(BundleError, match="features that cannot be filled: no_such_feature"):
        promote(settings, make_booster(), ["no_such_feature", "candidate__price"])
    left_as_it_was(settings)
    assert not (settings.home.bundles / "offers" / "2").exists()


def test_a_bundle_of_another_registry_is_never_overwritten(settings: Settings) -> None:
    promote(settings, make_booster())
    foreign = settings.home.bundles / "offers" / "2"
    foreign.mkdir()
    with pytest.raises(registry.RegistryError, match="holds a model of another registry"):
        promote(settings, make_booster())
    left_as_it_was(settings)
    assert foreign.exists()


def test_a_first_version_that_fails_leaves_no_alias(settings: Settings) -> None:
    with pytest.raises(BundleError):
        promote(settings, make_booster(), ["no_such_feature", "candidate__price"])
    assert versions(settings) == []
    with pytest.raises(MlflowException):
        registry.connect(settings).get_model_version_by_alias("offers", "champion")
    assert bundle.read_aliases(settings.home.bundles, "offers") == {}


def test_a_broken_alias_file_stops_a_promotion_before_it_begins(settings: Settings, tmp_path: Path) -> None:
    promote(settings, make_booster())
    aliases = settings.home.bundles / "offers" / "aliases.json"
    aliases.write_text("[")
    with pytest.raises(BundleError, match=r"aliases\.json"):
        promote(settings, make_booster())
    assert versions(settings) == ["1"]
