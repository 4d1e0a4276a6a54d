"""The trees of one file of a bundle: read, checked against what was written, and summed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import lightgbm
import msgspec
import numpy as np

from models.tree_text import parse
from models.trees import Trees, probe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class BundleError(ValueError):
    """A bundle that this program cannot serve; the message says why."""


class Scorer(msgspec.Struct, frozen=True):
    """The trees of one text."""

    booster: lightgbm.Booster
    trees: Trees | None = None
    """None: LightGBM scores by itself, slower."""

    def score(self, matrix: Floats) -> Floats:
        """Raw scores of (rows, features), on one thread: the request's own."""
        if self.trees is not None:
            return self.trees.score(np.ascontiguousarray(matrix.T))
        return np.asarray(self.booster.predict(matrix, raw_score=True, num_threads=1))


def read(path: Path, written: str, features: int) -> Scorer:
    """The trees of a file of the digest `written`. Raises BundleError for another one, or one of other features."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path.parent}: {error}") from error
    if digest(text) != written:
        # Not left to LightGBM: most texts that are cut off end its whole process.
        raise BundleError(f"{path.parent}: {path.name} is not the file that bundle.json was written for")
    try:
        booster = lightgbm.Booster(model_str=text.decode())
        scorer = Scorer(booster, _walkable(text.decode(), booster))
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise BundleError(f"{path.parent}: {error}") from error
    if booster.num_feature() != features:
        raise BundleError(
            f"{path.parent}: {path.name} takes {booster.num_feature()} features, the signature names {features}"
        )
    return scorer


def _walkable(model: str, booster: lightgbm.Booster) -> Trees | None:
    """The model's trees if walking them gives LightGBM's scores to the bit."""
    trees = parse(model)
    if trees is None:
        return None
    matrix = probe(trees, booster.num_feature())
    expected = np.asarray(booster.predict(matrix, raw_score=True, num_threads=1))
    return trees if np.array_equal(trees.score(np.ascontiguousarray(matrix.T)), expected) else None


def digest(model: bytes) -> str:
    return hashlib.blake2b(model, digest_size=16).hexdigest()
