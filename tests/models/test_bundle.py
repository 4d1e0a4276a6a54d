"""Model bundles on disk: what is saved is what serves, and what cannot serve is refused with its reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from features.ids import digest
from models.bundle import (
    FORMAT,
    Appraisal,
    BundleError,
    Calibration,
    Description,
    calibrate,
    load,
    read_aliases,
    save,
    write_alias,
)
from models.signature import Feature, Signature
from tests.service import shop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good bundle."""
    save(tmp_path / "1", shop.describe("1"), shop.grow(1))
    return tmp_path / "1"


def rows(count: int = 7) -> dict[str, np.ndarray]:
    """Features as the service computes them: numbers, and digests of categories."""
    chance = np.random.default_rng(5)
    return {
        feature.name: np.array([float(digest(str(chance.choice(feature.categories)))) for _ in range(count)])
        if feature.kind == "category"
        else chance.exponential(2.0, count)
        for feature in shop.signature().features
    }


def test_a_saved_bundle_scores_as_the_model_it_was_made_of_to_the_bit(folder: Path) -> None:
    import lightgbm

    bundle = load(folder)
    matrix = bundle.encoder.encode(rows())
    original = lightgbm.Booster(model_str=shop.grow(1)).predict(matrix, raw_score=True)
    assert bundle.score(matrix).tolist() == np.asarray(original).tolist()
    assert bundle.label == "offers/1"
    assert msgspec.structs.replace(bundle.description, model_digest="") == shop.describe("1")


def test_contributions_and_the_expected_score_sum_to_the_score(folder: Path) -> None:
    bundle = load(folder)
    contributions = bundle.contributions(rows())
    assert contributions.shape == (7, len(shop.signature().features) + 1)
    assert contributions.sum(axis=1) == pytest.approx(bundle.score(bundle.encoder.encode(rows())), abs=1e-9)


def test_calibration_goes_through_its_knots_and_stays_flat_beyond() -> None:
    calibration = Calibration(raw=(-2.0, 0.0, 1.0), probability=(0.1, 0.3, 0.9))
    raw = np.array([-9.0, -2.0, -1.0, 0.0, 0.5, 1.0, 9.0])
    assert calibrate(calibration, raw) == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.6, 0.9, 0.9])


@pytest.mark.parametrize(
    ("raw", "probability"),
    [([], []), ([0.0, 1.0], [0.5]), ([1.0, 0.0], [0.1, 0.2]), ([0.0], [1.5]), ([0.0, 1.0], [None, 0.5])],
)
def test_a_calibration_that_gives_no_probabilities_is_refused(
    folder: Path, raw: list[float], probability: list[float]
) -> None:
    described = json.loads((folder / "bundle.json").read_text())
    described["calibration"] = {"raw": raw, "probability": probability}
    (folder / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="calibration"):
        load(folder)


def test_a_model_that_is_cut_off_anywhere_is_refused(folder: Path) -> None:
    """LightGBM itself would take some of these for models, and end the whole process at others."""
    model = folder / "model.txt"
    whole = model.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 200, len(whole) - 1):
        model.write_bytes(whole[:size])
        with pytest.raises(BundleError, match=r"not the file that bundle\.json was written for"):
            load(folder)
    model.write_bytes(whole)
    load(folder)


def test_features_that_cannot_be_filled_are_all_named(tmp_path: Path) -> None:
    hour = Feature("context__hour", "category", ("1", "2"))  # known, but a number
    signature = Signature((*shop.signature().features[:-2], Feature(shop.REFUSED), hour))
    save(tmp_path / "1", shop.describe("1", signature), shop.grow(1))
    with pytest.raises(BundleError, match=rf"cannot be filled: {shop.REFUSED}, context__hour"):
        load(tmp_path / "1")


def test_a_model_of_other_features_than_its_signature_is_refused(tmp_path: Path) -> None:
    signature = Signature(shop.signature().features[:-1])
    save(tmp_path / "1", shop.describe("1", signature), shop.grow(1))
    count = len(signature.features)
    with pytest.raises(BundleError, match=f"takes {count + 1} features, the signature names {count}"):
        load(tmp_path / "1")


@pytest.mark.parametrize("file", ["bundle.json", "model.txt"])
def test_a_bundle_without_one_of_its_files_is_refused(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(BundleError, match=file):
        load(folder)


def test_a_description_of_a_newer_format_is_refused_and_unknown_fields_are_passed_over(folder: Path) -> None:
    path = folder / "bundle.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {"a_field_of_tomorrow": 1}))
    load(folder)
    path.write_text(json.dumps(described | {"format": FORMAT + 1}))
    with pytest.raises(BundleError, match="knows up to"):
        load(folder)
    path.write_text("{")
    with pytest.raises(BundleError):
        load(folder)


def test_a_model_that_is_no_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "1", shop.describe("1"), "tree\nfar from it\n")
    with pytest.raises(BundleError):
        load(tmp_path / "1")


def test_a_version_is_written_once(folder: Path) -> None:
    save(folder, shop.describe("9"), "something else")
    assert load(folder).description.version == "1"
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_aliases_are_replaced_one_by_one(tmp_path: Path) -> None:
    assert read_aliases(tmp_path, "offers") == {}
    write_alias(tmp_path, "offers", "champion", "1")
    write_alias(tmp_path, "offers", "challenger", "2")
    write_alias(tmp_path, "offers", "champion", "3")
    assert read_aliases(tmp_path, "offers") == {"champion": "3", "challenger": "2"}
    (tmp_path / "offers" / "aliases.json").write_text('{"champion": 3}')
    with pytest.raises(BundleError, match=r"aliases\.json"):
        read_aliases(tmp_path, "offers")


def test_a_description_survives_its_json() -> None:
    description = shop.describe("4")
    assert msgspec.json.decode(msgspec.json.encode(description), type=Description) == description


@pytest.fixture
def valued(tmp_path: Path) -> Path:
    """A bundle that says what a reward brings, too."""
    described = msgspec.structs.replace(shop.describe("1"), value=Appraisal(of="revenue", scale=2.0))
    save(tmp_path / "valued", described, shop.grow(1), shop.grow(2))
    return tmp_path / "valued"


def test_values_are_those_of_their_own_trees_to_the_bit(valued: Path, folder: Path) -> None:
    import lightgbm

    bundle, plain = load(valued), load(folder)
    features = rows()
    raw = lightgbm.Booster(model_str=shop.grow(2)).predict(bundle.encoder.encode(features), raw_score=True)
    values = bundle.values(features)
    assert values is not None
    assert values.tolist() == (np.exp(np.asarray(raw)) * 2.0).tolist()
    assert bundle.propensities(features).tolist() == plain.propensities(features).tolist()
    assert plain.values(features) is None
    with pytest.raises(BundleError, match="offers/1 does not say what a reward brings"):
        plain.appraise(plain.encoder.encode(features))


def test_a_bundle_from_before_values_were_known_loads_and_serves(folder: Path) -> None:
    written = json.loads((folder / "bundle.json").read_bytes())
    del written["value"]
    (folder / "bundle.json").write_text(json.dumps(written))
    assert load(folder).appraiser is None


@pytest.mark.parametrize("damage", ["cut", "gone", "others"])
def test_values_of_another_file_than_was_written_are_refused(valued: Path, damage: str) -> None:
    path = valued / "value.txt"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(path.read_text()[:-200] if damage == "cut" else shop.grow(3))
    with pytest.raises(BundleError, match=r"value\.txt"):
        load(valued)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_that_gives_no_values_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="the scale of values is a positive number"):
        Appraisal(of="revenue", scale=scale)
