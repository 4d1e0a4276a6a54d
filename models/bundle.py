"""A model as the service loads it: plain files exported from the registry, read without MLflow.

`<folder>/model.txt` is LightGBM's own text, `<folder>/bundle.json` all the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import lightgbm
import msgspec
import numpy as np

from models.matrix import Encoder, encoder
from models.signature import Signature, missing
from models.tree_text import parse
from models.trees import Trees, probe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FORMAT = 1
DEFAULT_NAME = "offers"
CHAMPION = "champion"


class BundleError(ValueError):
    """A bundle that this program cannot serve; the message says why."""


class Calibration(msgspec.Struct, frozen=True):
    """Raw score -> probability, piecewise linear between knots (raw ascending) and flat beyond."""

    raw: tuple[float, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.raw or len(self.raw) != len(self.probability) or list(self.raw) != sorted(self.raw):
            raise ValueError("a calibration needs ascending raw scores with a probability each")
        if not all(0.0 <= probability <= 1.0 for probability in self.probability):
            raise ValueError("a calibration's probabilities lie between 0 and 1")


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What `bundle.json` says."""

    format: int = FORMAT
    name: str
    version: str
    reward: str
    """What propensity is the probability of."""
    labels: Literal["bootstrap", "logged"]
    signature: Signature
    calibration: Calibration
    run_id: str = ""
    trained: str = ""
    """When, ISO 8601 UTC."""
    window: tuple[str, str] = ("", "")
    data_digest: str = ""
    model_digest: str = ""
    """Of model.txt; `save` fills it in."""
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    """Of metrics: from, to, with 95 %."""
    gates: dict[str, Any] = {}


class Bundle(msgspec.Struct, frozen=True, dict=True):
    """A loaded model."""

    description: Description
    booster: lightgbm.Booster
    encoder: Encoder
    trees: Trees | None = None
    """None: LightGBM scores by itself, slower."""

    @property
    def label(self) -> str:
        return f"{self.description.name}/{self.description.version}"

    @cached_property
    def _knots(self) -> tuple[Floats, Floats]:
        calibration = self.description.calibration
        return np.array(calibration.raw), np.array(calibration.probability)

    def score(self, matrix: Floats) -> Floats:
        """Raw scores of (rows, features), on one thread: the request's own."""
        if self.trees is not None:
            return self.trees.score(np.ascontiguousarray(matrix.T))
        return np.asarray(self.booster.predict(matrix, raw_score=True, num_threads=1))

    def propensities(self, features: dict[str, Floats]) -> Floats:
        """Calibrated P(reward given shown) of each row."""
        return np.interp(self.score(self.encoder.encode(features)), *self._knots)

    def contributions(self, features: dict[str, Floats]) -> Floats:
        """SHAP values (rows, features + 1) of the raw score; the last column is the expected score."""
        return np.asarray(self.booster.predict(self.encoder.encode(features), pred_contrib=True, num_threads=1))


def calibrate(calibration: Calibration, raw: Floats) -> Floats:
    return np.interp(raw, calibration.raw, calibration.probability)


def save(folder: Path, description: Description, model: str) -> None:
    """Write a bundle as a whole: a folder beside, then renamed. Nothing is done if it exists already."""
    if folder.exists():
        return
    description = msgspec.structs.replace(description, model_digest=_digest(model.encode()))
    temporary = folder.with_name(f".{folder.name}.new")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        (temporary / "model.txt").write_text(model)
        (temporary / "bundle.json").write_bytes(msgspec.json.format(msgspec.json.encode(description)))
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load(folder: Path) -> Bundle:
    """Read and check a bundle. Raises BundleError when a file is missing or broken, or a feature cannot be filled."""
    try:
        description = msgspec.json.decode((folder / "bundle.json").read_bytes(), type=Description)
        model = (folder / "model.txt").read_bytes()
    except (OSError, msgspec.MsgspecError) as error:
        raise BundleError(f"{folder}: {error}") from error
    if description.format > FORMAT:
        raise BundleError(f"{folder}: format {description.format}, and this Kairos knows up to {FORMAT}")
    if unknown := missing(description.signature):
        raise BundleError(f"{folder}: features that cannot be filled: {', '.join(unknown)}")
    if _digest(model) != description.model_digest:
        # Not left to LightGBM: most texts that are cut off end its whole process.
        raise BundleError(f"{folder}: model.txt is not the file that bundle.json was written for")
    try:
        booster = lightgbm.Booster(model_str=model.decode())
    except lightgbm.basic.LightGBMError as error:
        raise BundleError(f"{folder}: {error}") from error
    if booster.num_feature() != len(description.signature.features):
        raise BundleError(
            f"{folder}: the model takes {booster.num_feature()} features, its signature names "
            f"{len(description.signature.features)}"
        )
    try:
        return Bundle(description, booster, encoder(description.signature), _walkable(model.decode(), booster))
    except ValueError as error:
        raise BundleError(f"{folder}: {error}") from error


def _walkable(model: str, booster: lightgbm.Booster) -> Trees | None:
    """The model's trees if walking them gives LightGBM's scores to the bit."""
    trees = parse(model)
    if trees is None:
        return None
    matrix = probe(trees, booster.num_feature())
    expected = np.asarray(booster.predict(matrix, raw_score=True, num_threads=1))
    return trees if np.array_equal(trees.score(np.ascontiguousarray(matrix.T)), expected) else None


def read_descriptions(bundles: Path) -> list[Description]:
    """Of all models there are, broken ones left out."""
    found = []
    for path in sorted(bundles.glob("[!.]*/[!.]*/bundle.json")):
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # `load` tells of these
            found.append(msgspec.json.decode(path.read_bytes(), type=Description))
    return found


def _digest(model: bytes) -> str:
    return hashlib.blake2b(model, digest_size=16).hexdigest()


def read_aliases(bundles: Path, name: str) -> dict[str, str]:
    """Alias -> version of a model; empty without one. Raises BundleError if the file is broken."""
    try:
        return msgspec.json.decode((bundles / name / "aliases.json").read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as error:
        raise BundleError(f"{bundles / name / 'aliases.json'}: {error}") from error


def write_alias(bundles: Path, name: str, alias: str, version: str) -> None:
    """Point an alias at a version, at once for every reader."""
    aliases = read_aliases(bundles, name) | {alias: version}
    path = bundles / name / "aliases.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    try:
        temporary.write_text(json.dumps(aliases, indent=2, sort_keys=True))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
