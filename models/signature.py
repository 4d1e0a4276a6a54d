"""What a model expects: feature names in order, and the categories of those that are categorical."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from features.aggregates.declared import VIEWS
from features.aggregates.derived import DERIVED
from features.aggregates.given import ATTRIBUTES, REQUESTED
from features.ids import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Feature(msgspec.Struct, frozen=True):
    name: str
    kind: Literal["number", "category"] = "number"
    categories: tuple[str, ...] = ()
    """Known values in the order of their codes; anything else is missing."""


class Signature(msgspec.Struct, frozen=True):
    features: tuple[Feature, ...]

    @property
    def names(self) -> list[str]:
        return [feature.name for feature in self.features]

    @property
    def categorical(self) -> list[int]:
        """Positions of the categorical features."""
        return [at for at, feature in enumerate(self.features) if feature.kind == "category"]


class Codes(msgspec.Struct, frozen=True):
    """Digest -> code of one categorical feature, for whole columns."""

    digests: NDArray[np.float64]
    codes: NDArray[np.float64]

    def look_up(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Codes of a column of digests, NaN for unknown ones."""
        if not len(self.digests):
            return np.full(len(values), np.nan)
        at = np.minimum(np.searchsorted(self.digests, values), len(self.digests) - 1)
        return np.where(self.digests[at] == values, self.codes[at], np.nan)


def encode_categories(feature: Feature) -> Codes:
    digests = np.array([digest(category) for category in feature.categories], np.float64)
    order = np.argsort(digests)
    return Codes(digests[order], order.astype(np.float64))


def fillable() -> dict[str, Literal["number", "category"]]:
    """Every feature that this program can compute, with its kind, in the order that models are trained with."""
    known: dict[str, Literal["number", "category"]] = {}
    for aggregates in VIEWS.values():
        for aggregate in aggregates:
            kind: Literal["number", "category"] = "category" if aggregate.kind.categorical else "number"
            known |= dict.fromkeys(aggregate.outputs, kind)
    known |= dict.fromkeys(DERIVED, "number")
    for kind in ("number", "category"):
        known |= {given.name: given.kind for given in (*ATTRIBUTES, *REQUESTED) if given.kind == kind}
    return known


def missing(signature: Signature) -> list[str]:
    """What this program cannot fill: unknown features, or known ones of another kind."""
    known = fillable()
    return [feature.name for feature in signature.features if known.get(feature.name) != feature.kind]
