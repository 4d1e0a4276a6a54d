"""The catalog as a decision uses it: columns over its candidates, and look-ups by id."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from features.ids import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.catalog.schema import Candidate, Catalog, Placement, Variant

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class Compiled(msgspec.Struct, frozen=True):
    """One version of the catalog. Arrays are over all candidates, in the order of the document."""

    document: Catalog
    version: str
    zone: ZoneInfo
    candidates: tuple[Candidate, ...]
    place: dict[str, int]
    """Candidate id -> position."""
    placements: dict[str, Placement]
    variants: dict[str, dict[str, Variant]]
    """Experiment id -> variant id -> variant."""
    ids: Ints
    categories: Ints
    kinds: Ints
    price: Floats
    value: Floats
    weight: Floats


def compile_catalog(catalog: Catalog, version: str) -> Compiled:
    candidates = tuple(catalog.candidates)
    return Compiled(
        catalog,
        version,
        ZoneInfo(catalog.time_zone),
        candidates,
        {candidate.id: at for at, candidate in enumerate(candidates)},
        {placement.id: placement for placement in catalog.placements},
        {experiment.id: {v.id: v for v in experiment.variants} for experiment in catalog.experiments},
        np.array([digest(candidate.id) for candidate in candidates], np.int64),
        np.array([digest(candidate.category) for candidate in candidates], np.int64),
        np.array([digest(candidate.kind) for candidate in candidates], np.int64),
        np.array([candidate.price for candidate in candidates]),
        np.array([candidate.value for candidate in candidates]),
        np.array([candidate.weight for candidate in candidates]),
    )


def pool(compiled: Compiled, placement: Placement, supplied: list[str] | None = None) -> Ints:
    """Positions of the candidates that compete in a placement, or of those the request supplied."""
    ids = placement.candidates if supplied is None else supplied
    if ids is None:
        return np.arange(len(compiled.candidates))
    return np.array([compiled.place[text] for text in ids if text in compiled.place], np.int64)
