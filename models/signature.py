"""What a model expects: feature names in order, and the categories of those that are categorical."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from features.aggregates.declared import VIEWS
from features.aggregates.derived import DERIVED
from features.aggregates.given import ATTRIBUTES, REQUESTED
from features.ids import BITS, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray


MOST_CATEGORICAL = 1 << (53 - BITS)
"""A float holds 53 bits: a digest, and which feature it is of."""


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
    """Digest -> code of all categorical features of a signature, looked up together: a decision costs its calls."""

    places: NDArray[np.int64]
    """(k,) which of the features are categorical."""
    offsets: NDArray[np.float64]
    """(k, 1) added to digests, so that those of one feature are none of another's."""
    digests: NDArray[np.float64]
    codes: NDArray[np.float64]

    def look_up(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Codes of columns of digests (k, rows), NaN for unknown ones."""
        if not len(self.digests):
            return np.full(values.shape, np.nan)
        wanted = values + self.offsets
        at = np.minimum(np.searchsorted(self.digests, wanted), len(self.digests) - 1)
        return np.where(self.digests[at] == wanted, self.codes[at], np.nan)


def encode_categories(signature: Signature) -> Codes:
    """Raises ValueError above MOST_CATEGORICAL categorical features."""
    places = signature.categorical
    if len(places) > MOST_CATEGORICAL:
        raise ValueError(f"{len(places)} categorical features, and at most {MOST_CATEGORICAL} can be looked up")
    offsets = np.arange(len(places), dtype=np.float64)[:, None] * 2.0**BITS
    known = [
        (digest(category) + float(offset), float(code))
        for place, (offset,) in zip(places, offsets.tolist(), strict=True)
        for code, category in enumerate(signature.features[place].categories)
    ]
    digests, codes = np.array(sorted(known), np.float64).reshape(-1, 2).T
    return Codes(np.array(places, np.int64), offsets, np.ascontiguousarray(digests), np.ascontiguousarray(codes))


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
