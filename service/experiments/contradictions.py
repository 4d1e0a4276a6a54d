"""What the shape of experiments, the holdout and flags cannot tell: weights that do not add up, layers that overlap,
what does not exist.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from service.catalog import contents
from service.catalog.experiments import BUCKETS, HELD, HOLDOUT, OPEN
from service.catalog.expressions import ExpressionError, compile_formula
from service.catalog.windows import moment
from service.experiments import analysis
from service.experiments.allocation import contradictions as allocation
from service.experiments.ranges import size_of, sizes_of, weights_of
from service.experiments.variation import overlay

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from features.documents import Place
    from service.catalog.experiments import Experiment, Flag, Ranges, Variant
    from service.catalog.schema import Catalog

    Found = Iterator[tuple[Place, str]]

TOLERANCE = 1e-6
KINDS = (("true or false", bool), ("numbers", (int, float)), ("texts", str), ("objects", dict), ("lists", list))


def find(catalog: Catalog, aliases: Collection[str] | None) -> Found:
    """(place, what is wrong); models' aliases are not looked for if none are given."""
    taken: set[str] = set()
    ids = {"experiments": [one.id for one in catalog.experiments], "flags": [one.id for one in catalog.flags]}
    for place, name in (((what, at, "id"), name) for what, names in ids.items() for at, name in enumerate(names)):
        if name == HOLDOUT:
            yield place, f"{HOLDOUT!r} is the global holdout's name"
        elif name in taken:
            yield place, f"{name!r} stands here a second time"
        taken.add(name)
    for at, experiment in enumerate(catalog.experiments):
        for below, problem in _of_experiment(catalog, experiment, aliases):
            yield ("experiments", at, *below), problem
    if catalog.holdout is not None:
        for below, problem in analysis.problems(catalog.holdout.analysis, (HELD, OPEN), has_end=False):
            yield ("holdout", "analysis", *below), problem
    yield from _of_layers(catalog)
    yield from allocation.overlaps(catalog)
    for at, flag in enumerate(catalog.flags):
        for below, problem in _of_flag(flag):
            yield ("flags", at, *below), problem


def _of_experiment(catalog: Catalog, experiment: Experiment, aliases: Collection[str] | None) -> Found:
    placements = {placement.id for placement in catalog.placements}
    yield from _of_variants(experiment)
    for at, name in enumerate(experiment.placements or ()):
        if name not in placements:
            yield ("placements", at), f"there is no placement {name!r}"
    for at, variant in enumerate(experiment.variants):
        for place, problem in _of_variant(catalog, variant, aliases if experiment.status == "running" else None):
            yield ("variants", at, *place), problem
    zone = ZoneInfo(catalog.time_zone)
    if moment(experiment.starts, zone, ends=False) >= moment(experiment.ends, zone, ends=True):
        yield ("ends",), "it ends before it begins"
    if experiment.eligibility is not None:
        yield from _of_expression(("eligibility",), experiment.eligibility)
    names = [variant.id for variant in experiment.variants]
    yield from _of_status(experiment, names)
    yield from allocation.problems(catalog, experiment)
    for place, problem in analysis.problems(experiment.analysis, names, experiment.ends is not None):
        yield ("analysis", *place), problem


def _of_status(experiment: Experiment, names: list[str]) -> Found:
    if experiment.status == "running" and len(names) < 2:
        yield ("variants",), "a running experiment has two variants or more"
    if experiment.status == "rolled_out" and experiment.rolled_out is None:
        yield ("status",), "say which variant everybody has: `rolled_out`"
    if experiment.rolled_out is not None and experiment.rolled_out not in names:
        yield ("rolled_out",), f"there is no variant {experiment.rolled_out!r}"
    if experiment.rolled_out is not None and experiment.status != "rolled_out":
        yield ("rolled_out",), "it counts when `status` is rolled_out"


def _of_variants(experiment: Experiment) -> Found:
    seen: set[str] = set()
    for at, variant in enumerate(experiment.variants):
        if variant.id in seen:
            yield ("variants", at, "id"), f"{variant.id!r} stands here a second time"
        seen.add(variant.id)
    given = [variant.weight for variant in experiment.variants if variant.weight is not None]
    if given and len(given) < len(experiment.variants):
        yield ("variants",), "either all variants have a `weight` or none"
    elif given and abs(sum(given) - 1.0) > TOLERANCE:
        yield ("variants",), f"the weights add up to {sum(given):g}, not to 1"
    else:
        yield from _of_ranges(experiment)
    values = [variant.value for variant in experiment.variants]
    if any(value is not None for value in values):
        yield from _of_values(("variants",), values, "`value`")


def _of_ranges(experiment: Experiment) -> Found:
    """Of what a publish has stored, or somebody has written."""
    advice = "leave it out, and a publish finds those that move the fewest units"
    stored = [variant.ranges for variant in experiment.variants]
    if any(ranges is not None for ranges in stored):
        sizes = sizes_of(weights_of(experiment), 1.0 if experiment.layer else experiment.share)
        for at, (ranges, size) in enumerate(zip(stored, sizes, strict=True)):
            if ranges is None or size_of(ranges) != size:
                yield ("variants", at, "ranges"), f"its weight is {size} of {BUCKETS} buckets: {advice}"
        if _overlap(ranges for ranges in stored if ranges is not None):
            yield ("variants",), f"their `ranges` overlap, or run backwards: {advice}"
    if experiment.slices is not None and experiment.layer is None:
        yield ("slices",), "it has a layer of its own"
    elif experiment.slices is not None and size_of(experiment.slices) != round(experiment.share * BUCKETS):
        yield ("slices",), f"they are not the experiment's `share`: {advice}"


def _overlap(several: Iterable[Ranges]) -> bool:
    ordered = sorted(each for ranges in several for each in ranges)
    backwards = any(start >= end for start, end in ordered)
    return backwards or any(one[1] > other[0] for one, other in itertools.pairwise(ordered))


def _of_values(place: Place, values: Iterable[Any], what: str) -> Found:
    kinds = {next((kind for kind, types in KINDS if isinstance(value, types)), "nothing") for value in values}
    if len(kinds) > 1:
        yield place, f"{what} is of one type for all; these are {' and '.join(sorted(kinds))}"
    elif "nothing" in kinds:
        yield place, f"{what} is something"


def _of_variant(catalog: Catalog, variant: Variant, aliases: Collection[str] | None) -> Found:
    candidates = {candidate.id: candidate for candidate in catalog.candidates}
    if aliases is not None and variant.model is not None and variant.model not in aliases:
        known = ", ".join(sorted(aliases)) or "there is none"
        yield ("model",), f"no model has the alias {variant.model!r} ({known})"
    for at, name in enumerate(variant.candidates or ()):
        if name not in candidates:
            yield ("candidates", at), f"there is no candidate {name!r}"
    for field in ("weights", "content"):
        for name in getattr(variant, field):
            if name not in candidates:
                yield (field, name), f"there is no candidate {name!r}"
    for name in variant.content:
        if name in candidates:
            before = set(contents.problems(candidates[name]))
            for place, problem in contents.problems(overlay(candidates[name], variant.content[name])):
                if (place, problem) not in before:
                    yield ("content", name, *place[1:]), problem


def _of_layers(catalog: Catalog) -> Found:
    taken: dict[str, list[Experiment]] = {}
    for at, experiment in enumerate(catalog.experiments):
        if experiment.layer is None or experiment.status != "running":
            continue
        beside = taken.setdefault(experiment.layer, [])
        beside.append(experiment)
        total = sum(one.share for one in beside)
        if beside[0].unit != experiment.unit:
            yield ("experiments", at, "unit"), f"layer {experiment.layer!r} has units of another kind"
        if total > 1.0 + TOLERANCE:
            shares = " + ".join(f"{one.id} {one.share:g}" for one in beside)
            yield ("experiments", at, "share"), f"the experiments of layer {experiment.layer!r} overlap: {shares} > 1"
        elif _overlap(one.slices for one in beside if one.slices is not None):
            yield ("experiments", at, "slices"), f"they overlap others of layer {experiment.layer!r}"


def _of_flag(flag: Flag) -> Found:
    yield from _of_values(("variants",), flag.variants.values(), "the value")
    if flag.default not in flag.variants:
        yield ("default",), f"there is no variant {flag.default!r}"
    for at, rule in enumerate(flag.rules):
        if rule.variant not in flag.variants:
            yield ("rules", at, "variant"), f"there is no variant {rule.variant!r}"
        yield from _of_expression(("rules", at, "when"), rule.when)


def _of_expression(place: Place, text: str) -> Found:
    try:
        compile_formula(text, "targeting")
    except ExpressionError as error:
        yield place, str(error)
