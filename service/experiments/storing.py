"""The ranges that a publish stores in its catalog: those of the catalog before, changed as little as can be. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.catalog.experiments import BUCKETS
from service.experiments.ranges import move, size_of, sizes_of, spread, weights_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.catalog.experiments import Experiment, Move, Ranges
    from service.catalog.schema import Catalog


def store(before: Catalog | None, after: Catalog) -> Catalog:
    """The catalog `after` with the buckets of all experiments but drafts; what it says of them itself stays."""
    if all(experiment.status == "draft" for experiment in after.experiments):
        return after
    old = {} if before is None else {one.id: one for one in before.experiments if one.status != "draft"}
    slices = _slice(old, after)
    settled = tuple(
        one
        if one.status == "draft"
        else _settle(old.get(one.id), one).model_copy(
            update={"slices": slices.get(one.id, one.slices), "moves": _moves(old.get(one.id), one)}
        )
        for one in after.experiments
    )
    return after.model_copy(update={"experiments": settled})


def carry(before: Catalog | None, after: Catalog) -> Catalog:
    """The catalog `after`, an earlier one that comes again, with the weights that moved since: they bind units."""
    old = {} if before is None else {one.id: one for one in before.experiments}
    carried = tuple(one.model_copy(update={"moves": _moves(old.get(one.id), one)}) for one in after.experiments)
    return after if carried == after.experiments else after.model_copy(update={"experiments": carried})


def strip(catalog: Catalog) -> Catalog:
    """The catalog without any stored buckets."""
    bare = tuple(
        experiment.model_copy(
            update={
                "slices": None,
                "variants": tuple(variant.model_copy(update={"ranges": None}) for variant in experiment.variants),
            }
        )
        for experiment in catalog.experiments
    )
    return catalog.model_copy(update={"experiments": bare})


def _settle(old: Experiment | None, new: Experiment) -> Experiment:
    """The experiment with the buckets of its variants."""
    if all(variant.ranges is not None for variant in new.variants):
        return new
    coverage = 1.0 if new.layer else new.share
    names = [variant.id for variant in new.variants]
    sizes = dict(zip(names, sizes_of(weights_of(new), coverage), strict=True))
    kept = {} if old is None else {one.id: one.ranges for one in old.variants if one.ranges is not None}
    if not kept:
        found = dict(zip(names, spread(weights_of(new), coverage), strict=True))
    elif all(size_of(kept.get(name, ())) == size for name, size in sizes.items()) and set(kept) == set(names):
        found = kept
    else:
        found = move(kept, sizes)
    variants = tuple(variant.model_copy(update={"ranges": found[variant.id]}) for variant in new.variants)
    return new.model_copy(update={"variants": variants})


def _moves(old: Experiment | None, new: Experiment) -> tuple[Move, ...]:
    """Weights that moved stay for good, so that no unit is bound by others than before."""
    if old is None or len(old.moves) <= len(new.moves) or len(old.variants) != len(new.variants):
        return new.moves
    return old.moves


def _slice(old: Mapping[str, Experiment], after: Catalog) -> dict[str, Ranges | None]:
    """The slices of all layers' running experiments; None for who has none any more."""
    found: dict[str, Ranges | None] = {}
    layers: dict[str, list[Experiment]] = {}
    for one in after.experiments:
        if one.layer is not None and one.status == "running":
            layers.setdefault(one.layer, []).append(one)
        elif one.slices is not None:
            found[one.id] = None
    for members in layers.values():
        kept = {one.id: _slices_before(old.get(one.id), one) for one in members}
        found |= move(kept, {one.id: round(one.share * BUCKETS) for one in members})
    return found


def _slices_before(old: Experiment | None, new: Experiment) -> Ranges:
    """What the document says itself, else what was stored, if that was in the same layer."""
    if new.slices is not None:
        return new.slices
    return old.slices or () if old is not None and old.layer == new.layer else ()
