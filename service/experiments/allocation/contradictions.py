"""What an allocation may not say: floors that leave nothing to move, what units could not keep, slates that two
experiments would share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.catalog.experiments import INTERLEAVED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.documents import Place
    from service.catalog.experiments import Experiment
    from service.catalog.schema import Catalog

    Found = Iterator[tuple[Place, str]]

MOVING = ("every", "returning", "floor")
"""Of `thompson` alone."""


def problems(catalog: Catalog, experiment: Experiment) -> Found:
    """(place below the experiment, what is wrong)."""
    kind = experiment.allocation.kind
    if kind != "thompson":
        for name in MOVING:
            if name in experiment.allocation.model_fields_set:
                yield ("allocation", name), f"it is for thompson, whose weights move: leave it out of {kind}"
        if experiment.moves:
            yield ("moves",), "only the weights of `allocation: {kind: thompson}` move: leave them out"
    if kind == "thompson":
        yield from _of_moving(experiment)
    if kind == "interleaved":
        yield from _of_interleaved(catalog, experiment)


def _of_moving(experiment: Experiment) -> Found:
    count, floor = len(experiment.variants), experiment.allocation.floor
    if count * floor >= 1.0:
        least = f"{count} variants with {floor:g} each leave nothing to move"
        yield ("allocation", "floor"), f"{least}: say less than {1 / count:.3g}"
    if any(variant.weight == 0.0 for variant in experiment.variants):
        yield ("variants",), "a variant without weight is never tried, so that nothing moves to it: give it some"
    if experiment.allocation.returning is not None and experiment.starts is None:
        yield ("allocation", "returning"), "say when the experiment begins: `starts`"
    for at, move in enumerate(experiment.moves):
        if len(move.weights) != count or abs(sum(move.weights) - 1.0) > 1e-6:
            yield ("moves", at, "weights"), "they are the service's to move: leave `moves` out"


def _of_interleaved(catalog: Catalog, experiment: Experiment) -> Found:
    if len(experiment.variants) != 2:
        yield (
            ("variants",),
            f"a slate holds the picks of two rankings, not of {len(experiment.variants)}: keep two, or compare more "
            "with fixed weights",
        )
    for at, variant in enumerate(experiment.variants):
        if variant.value is not None:
            yield ("variants", at, "value"), "a flag's value cannot be in one slate with another: use fixed weights"
        if variant.exploration is not None:
            yield ("variants", at, "exploration"), "interleaved rankings do not explore: compare it with fixed weights"
        if variant.content:
            yield ("variants", at, "content"), "content ranks nothing: compare it with fixed weights"
        if variant.weight is not None and variant.weight != 0.5:
            yield (
                ("variants", at, "weight"),
                "every slate has both evenly: leave it out; `share` is for fewer units",
            )
        if variant.id == INTERLEAVED:
            yield ("variants", at, "id"), f"{INTERLEAVED!r} is what units of both are said to have"
    if "metrics" in experiment.analysis.model_fields_set:
        yield (
            ("analysis", "metrics"),
            "clicks tell whose picks are preferred, and units have both: leave them out, or use fixed weights",
        )
    for placement in catalog.placements:
        if experiment.placements is not None and placement.id not in experiment.placements:
            continue
        named = (experiment.placements or ()).index(placement.id) if experiment.placements else None
        place: Place = ("placements",) if named is None else ("placements", named)
        if placement.limit < 2:
            yield place, f"{placement.id!r} shows one item, in which two rankings cannot stand: use fixed weights"
        if placement.apprentice:
            yield place, f"{placement.id!r} has an apprentice, which shows nothing"


def overlaps(catalog: Catalog) -> Found:
    """Two interleaved experiments that would share a slate."""
    taken: dict[str, Experiment] = {}
    for at, experiment in enumerate(catalog.experiments):
        if experiment.status != "running" or experiment.allocation.kind != "interleaved":
            continue
        here = [one.id for one in catalog.placements] if experiment.placements is None else experiment.placements
        for name in here:
            other = taken.setdefault(name, experiment)
            if other is experiment or (other.layer is not None and other.layer == experiment.layer):
                continue
            yield (
                ("experiments", at, "placements"),
                f"{other.id!r} interleaves {name!r} already: give both one `layer`, or stop one",
            )
