"""A model as the service loads it: plain files exported from the registry, read without MLflow.

`<folder>/model.txt` is LightGBM's own text, `<folder>/value.txt` that of what a reward brings, where that is predicted
too, and `<folder>/bundle.json` all the rest.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.description import FORMAT as FORMAT
from models.description import Appraisal as Appraisal
from models.description import Calibration as Calibration
from models.description import Description as Description
from models.matrix import Encoder, encoder
from models.scorer import BundleError as BundleError
from models.scorer import Scorer, digest, read
from models.signature import missing
from models.trees import CATEGORICAL

if TYPE_CHECKING:
    from pathlib import Path

    import lightgbm
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DEFAULT_NAME = "offers"
CHAMPION = "champion"
MODEL, VALUE = "model.txt", "value.txt"


class Bundle(msgspec.Struct, frozen=True, dict=True):
    """A loaded model."""

    description: Description
    scorer: Scorer
    encoder: Encoder
    appraiser: Scorer | None = None
    """Of the log of what a reward brings; None: values are the catalog's."""

    @property
    def label(self) -> str:
        return f"{self.description.name}/{self.description.version}"

    @cached_property
    def _knots(self) -> tuple[Floats, Floats]:
        calibration = self.description.calibration
        return np.array(calibration.raw), np.array(calibration.probability)

    @property
    def booster(self) -> lightgbm.Booster:
        return self.scorer.booster

    def score(self, matrix: Floats) -> Floats:
        """Raw scores of (rows, features)."""
        return self.scorer.score(matrix)

    def propensities(self, features: dict[str, Floats]) -> Floats:
        """Calibrated P(reward given shown) of each row."""
        return np.interp(self.score(self.encoder.encode(features)), *self._knots)

    def values(self, features: dict[str, Floats]) -> Floats | None:
        """What a reward of each row is expected to bring, in the catalog's currency; None: this model cannot say."""
        if self.appraiser is None:
            return None
        return self.appraise(self.encoder.encode(features))

    def appraise(self, matrix: Floats) -> Floats:
        """The same of (rows, features) in the signature's order. Raises BundleError without trees for it."""
        appraisal = self.description.value
        if self.appraiser is None or appraisal is None:
            raise BundleError(f"{self.label} does not say what a reward brings")
        return np.exp(self.appraiser.score(matrix)) * appraisal.scale

    def limits(self, feature: str) -> Floats | None:
        """Sorted thresholds of a number: from one to the next, included, the propensity is one. None: not known."""
        trees, names = self.scorer.trees, self.description.signature.names
        if trees is None:
            return None
        if feature not in names:
            return np.empty(0)
        return np.unique(trees.threshold[(trees.feature == names.index(feature)) & (trees.kind & CATEGORICAL == 0)])

    def contributions(self, features: dict[str, Floats]) -> Floats:
        """SHAP values (rows, features + 1) of the raw score; the last column is the expected score."""
        return np.asarray(self.booster.predict(self.encoder.encode(features), pred_contrib=True, num_threads=1))


def calibrate(calibration: Calibration, raw: Floats) -> Floats:
    return np.interp(raw, calibration.raw, calibration.probability)


def save(folder: Path, description: Description, model: str, value: str | None = None) -> None:
    """Write a bundle as a whole: a folder beside, then renamed. Nothing is done if it exists already.

    `value` is the text of the trees that say what a reward brings, where the description has an appraisal.
    """
    if folder.exists():
        return
    description = msgspec.structs.replace(description, model_digest=digest(model.encode()))
    if value is not None and description.value is not None:
        appraisal = msgspec.structs.replace(description.value, digest=digest(value.encode()))
        description = msgspec.structs.replace(description, value=appraisal)
    temporary = folder.with_name(f".{folder.name}.new")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        (temporary / MODEL).write_text(model)
        if value is not None:
            (temporary / VALUE).write_text(value)
        (temporary / "bundle.json").write_bytes(msgspec.json.format(msgspec.json.encode(description)))
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load(folder: Path) -> Bundle:
    """Read and check a bundle. Raises BundleError when a file is missing or broken, or a feature cannot be filled."""
    try:
        description = msgspec.json.decode((folder / "bundle.json").read_bytes(), type=Description)
    except (OSError, msgspec.MsgspecError) as error:
        raise BundleError(f"{folder}: {error}") from error
    if description.format > FORMAT:
        raise BundleError(f"{folder}: format {description.format}, and this Kairos knows up to {FORMAT}")
    if unknown := missing(description.signature):
        raise BundleError(f"{folder}: features that cannot be filled: {', '.join(unknown)}")
    width = len(description.signature.features)
    scorer = read(folder / MODEL, description.model_digest, width)
    appraiser = None if description.value is None else read(folder / VALUE, description.value.digest, width)
    try:
        return Bundle(description, scorer, encoder(description.signature), appraiser)
    except ValueError as error:
        raise BundleError(f"{folder}: {error}") from error


def read_descriptions(bundles: Path) -> list[Description]:
    """Of all models there are, broken ones left out."""
    found = []
    for path in sorted(bundles.glob("[!.]*/[!.]*/bundle.json")):
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # `load` tells of these
            found.append(msgspec.json.decode(path.read_bytes(), type=Description))
    return found


def read_aliases(bundles: Path, name: str) -> dict[str, str]:
    """Alias -> version of a model; empty without one. Raises BundleError if the file is broken."""
    try:
        return msgspec.json.decode((bundles / name / "aliases.json").read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as error:
        raise BundleError(f"{bundles / name / 'aliases.json'}: {error}") from error


def write_alias(bundles: Path, name: str, alias: str, version: str | None) -> None:
    """Point an alias at a version, at once for every reader; None takes the alias away."""
    named = read_aliases(bundles, name) | {alias: version}
    aliases = {each: number for each, number in named.items() if number is not None}
    path = bundles / name / "aliases.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    try:
        temporary.write_text(json.dumps(aliases, indent=2, sort_keys=True))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
