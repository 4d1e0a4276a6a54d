"""The rows of one part of the split as a matrix: which features, which rows, in the model's own numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow.dataset as pads

from features.aggregates.declared import VIEWS
from models.matrix import encoder
from models.signature import Feature, Signature, fillable
from training.positions import number_places
from training.supplied import categories_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from features.home import Home
    from models.bundle import Bundle
    from training.dataset import Source
    from training.labels import Flags, Floats, Ints, Queries

    Matrix = NDArray[np.float32]

ENOUGH_ROWS = 700_000
"""Training rows beyond which unrewarded ones are thinned out: more cost time and gain nothing that can be measured."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one part of the split: features in the signature's order, and further columns for baselines."""

    matrix: Matrix
    rewarded: Flags
    owner: Ints
    """The query of each row, ascending."""
    extra: dict[str, Floats]
    place: Ints | None = None
    """(r,) a number for each placement and position; None where nothing was shown."""
    beside: Floats | None = None
    """Raw scores by a model that was asked too."""
    amount: Floats | None = None
    """(r,) what each row brought, NaN where that is not known; None: nobody asked for it."""


def describe(home: Home, queries: Queries) -> Signature:
    """All features that can be filled. Identifiers of candidates are left out: keyed features say more with less."""
    table = pads.dataset(home.history / "attributes", format="parquet").to_table(["category", "kind"])
    categories = _known([*table["category"].unique().to_pylist(), *categories_of(queries)])
    vocabularies = {
        "candidate__category": categories,
        "candidate__kind": _known(table["kind"].unique().to_pylist()),
        "context__device": _known(queries.device),
        "context__referrer": _known(queries.referrer),
        "context__placement": _known(queries.placement),
    }
    vocabularies |= {
        name: categories
        for aggregates in VIEWS.values()
        for aggregate in aggregates
        if aggregate.kind.categorical and aggregate.value == "category"
        for name in aggregate.outputs
    }
    features = []
    for name, kind in fillable().items():
        if kind == "number":
            features.append(Feature(name))
        elif name in vocabularies:
            features.append(Feature(name, kind, vocabularies[name]))
    return Signature(tuple(features))


def _known(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def share_of_negatives(rewarded: Flags, asked: float | None) -> float:
    """The share of unrewarded rows to train on: what was asked for, else enough for ENOUGH_ROWS."""
    if asked is not None:
        return asked
    hits = int(rewarded.sum())
    return min(1.0, max(ENOUGH_ROWS - hits, hits) / max(len(rewarded) - hits, 1))


def thin(rewarded: Flags, share: float, seed: int) -> Flags:
    """Which rows to train on: all that were rewarded, and a `share` of the others."""
    return rewarded | (np.random.default_rng(seed).random(len(rewarded)) < share)


def gather(
    source: Source,
    queries: Queries,
    signature: Signature,
    keep: Flags | None = None,
    extra: tuple[str, ...] = (),
    progress: Callable[[int], None] = lambda _rows: None,
    beside: Bundle | None = None,
) -> Part:
    """The rows of `queries` (those where `keep` holds) as one matrix; `progress` is told rows done.

    `beside` scores them from its own features, which may be others than the signature's.
    """
    kept = np.ones(len(queries.owner), np.bool_) if keep is None else keep
    size = int(kept.sum())
    matrix = np.empty((size, len(signature.features)), np.float32)
    columns = {name: np.empty(size) for name in extra}
    scores = None if beside is None else np.empty(size)
    encode = encoder(signature).encode
    at = 0
    for chunk in source.read(queries):
        inside = kept[chunk.rows]
        behind = at + int(inside.sum())
        features = {name: values[inside] for name, values in chunk.features.items()}
        if behind > at:
            matrix[at:behind] = encode(features)
            for name, column in columns.items():
                column[at:behind] = features[name]
            if beside is not None and scores is not None:
                scores[at:behind] = beside.score(beside.encoder.encode(features))
        at = behind
        progress(chunk.rows.stop - chunk.rows.start)
    place = None
    if queries.position is not None:
        place = number_places(queries.placement, queries.owner, queries.position)[kept]
    return Part(
        matrix=matrix,
        rewarded=queries.rewarded[kept],
        owner=queries.owner[kept],
        extra=columns,
        place=place,
        beside=scores,
        amount=None if queries.amount is None else queries.amount[kept],
    )
