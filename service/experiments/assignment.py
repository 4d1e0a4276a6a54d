"""Who is in which variant: a pure function of the unit's id and of the ranges that the catalog has.

The global holdout comes first; then a layer's slice, then the experiment's own buckets. Golden files hold what units
get: it never changes by accident.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from service.catalog.experiments import BUCKETS, HELD, HOLDOUT, INTERLEAVED, OPEN
from service.catalog.expressions import compile_formula
from service.catalog.windows import moment
from service.experiments.allocation.epochs import NEW, NOBODY, OUTSIDE, bind, enter, lay
from service.experiments.hashing import codes, fall, fnv32a
from service.experiments.storing import store
from service.experiments.variation import changes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import NDArray

    from service.catalog.experiments import Experiment, Ranges
    from service.catalog.expressions import Formula
    from service.catalog.schema import Catalog
    from service.experiments.allocation.epochs import Epochs

    Ints = NDArray[np.int64]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A running experiment."""

    id: str
    names: tuple[str, ...]
    """Of the variants."""
    told: tuple[str, ...]
    """What units of each have: the variant, or both in one slate."""
    anonymous: bool
    """Its units are anonymous visitors."""
    layer: str
    """Empty for one of its own."""
    inside: Ints | None
    """(10,000,) whether each bucket of the layer is in its slice; None: it has all of its layer."""
    arms: Ints
    """(10,000,) position of the variant of each bucket, or NOBODY."""
    starts: int
    ends: int
    placements: frozenset[str] | None
    eligibility: Formula | None
    decides: bool
    """Whether decisions are about it: not if its variants differ in flag values only."""
    epochs: Epochs | None = None
    """The weights that moved; None where they stay."""
    own: int = 0
    """Place among the table's states of the seed by which units from before come in."""
    interleaved: bool = False
    """Its units have both variants in each slate."""


class Table(msgspec.Struct, frozen=True):
    """All running experiments of a catalog."""

    entries: tuple[Entry, ...]
    held: int
    """Buckets of the global holdout; 0 without one."""
    states: Ints
    """(1 + 2n + b,) FNV-1a of the seeds: of the holdout, of the experiments and their layers in turn, and of those with
    weights that move once more."""
    binds_visitors: bool = False
    """Whether weights move of an experiment on visitors, so that it counts when each was seen first."""


class Units(msgspec.Struct, frozen=True):
    """Who asks. Empty where it is not known."""

    customer: str
    """The id under which the customer was seen first."""
    anonymous: str = ""
    seen: int = NEW
    """When that was, in microseconds; 0: nobody is to know, but long ago."""
    visited: int = NEW
    """When the anonymous id was."""


class Assigned(msgspec.Struct, frozen=True):
    variants: dict[str, str]
    """Experiment -> variant."""
    buckets: dict[str, int]
    """Experiment -> the unit's bucket, of those not forced."""
    chances: dict[str, float] = {}
    """Experiment -> with which chance the unit was given its variant, where weights move."""


def tabulate(catalog: Catalog) -> Table:
    """Of a catalog without stored buckets, as if it were published for the first time."""
    zone = ZoneInfo(catalog.time_zone)
    running = [experiment for experiment in store(None, catalog).experiments if experiment.status == "running"]
    seeds = [HOLDOUT]
    for experiment in running:
        seeds += [experiment.id, f"__{experiment.layer or experiment.id}"]
    entries = []
    for experiment in running:
        entries.append(_enter(experiment, zone, len(seeds)))
        if entries[-1].epochs is not None:
            seeds.append(f"__{experiment.id}__returning")
    return Table(
        entries=tuple(entries),
        held=0 if catalog.holdout is None else round(catalog.holdout.share * BUCKETS),
        states=np.array([fnv32a(seed) for seed in seeds]),
        binds_visitors=any(entry.anonymous and entry.epochs is not None for entry in entries),
    )


def _enter(experiment: Experiment, zone: ZoneInfo, own: int) -> Entry:
    arms = np.full(BUCKETS, NOBODY)
    for position, variant in enumerate(experiment.variants):
        for start, end in variant.ranges or ():
            arms[start:end] = position
    starts = moment(experiment.starts, zone, ends=False)
    names = tuple(variant.id for variant in experiment.variants)
    is_interleaved = experiment.allocation.kind == "interleaved"
    return Entry(
        id=experiment.id,
        names=names,
        told=(INTERLEAVED,) * len(names) if is_interleaved else names,
        anonymous=experiment.unit == "anonymous",
        layer=experiment.layer or "",
        inside=None if experiment.layer is None else _mark(experiment.slices or ()),
        arms=arms,
        starts=starts,
        ends=moment(experiment.ends, zone, ends=True),
        placements=None if experiment.placements is None else frozenset(experiment.placements),
        eligibility=None if experiment.eligibility is None else compile_formula(experiment.eligibility, "targeting"),
        decides=is_decided(experiment),
        epochs=lay(experiment, starts) if experiment.allocation.kind == "thompson" else None,
        own=own,
        interleaved=is_interleaved,
    )


def is_decided(experiment: Experiment) -> bool:
    """Whether decisions are about it: one whose variants have flag values, and change nothing else, is for flags."""
    valued = any(variant.value is not None for variant in experiment.variants)
    changing = any(changes(variant) for variant in experiment.variants)
    return changing or not valued


def _mark(ranges: Ranges) -> Ints:
    marks = np.zeros(BUCKETS, np.int64)
    for start, end in ranges:
        marks[start:end] = 1
    return marks


def assign(
    table: Table,
    units: Units,
    now: int,
    concerns: Callable[[Entry], bool],
    forced: Mapping[str, str],
    holds: Callable[[Formula], bool],
) -> Assigned:
    """What a unit gets at `now` (microseconds) of the experiments that `concerns` names, beside what is `forced`.

    Without a customer it gets nothing else. `holds` evaluates eligibility, only of those in whose buckets the unit is.
    """
    variants = dict(forced)
    found: dict[str, int] = {}
    chances: dict[str, float] = {}
    if not units.customer or not (table.entries or table.held):
        return Assigned(variants, found)
    fallen = np.empty((2, len(table.states)), np.int64)
    fall(table.states, codes(units.customer), fallen[0])
    if units.anonymous:
        fall(table.states, codes(units.anonymous), fallen[1])
    buckets = fallen.tolist()
    if table.held and HOLDOUT not in forced:
        variants[HOLDOUT] = HELD if buckets[0][0] < table.held else OPEN
        found[HOLDOUT] = buckets[0][0]
    if variants.get(HOLDOUT) == HELD:
        return Assigned(variants, found)
    layers = {entry.layer for entry in table.entries if entry.id in forced and entry.layer}
    for at, entry in enumerate(table.entries):
        if entry.id in forced or not entry.starts <= now < entry.ends or not concerns(entry):
            continue
        if entry.layer in layers or (entry.anonymous and not units.anonymous):
            continue
        mine = buckets[entry.anonymous]
        if entry.inside is not None and not entry.inside[mine[2 + 2 * at]]:
            continue
        arm = int(entry.arms[mine[1 + 2 * at]])
        if entry.epochs is not None:
            came = enter(entry.epochs, units.visited if entry.anonymous else units.seen, now, mine[entry.own])
            arm, chances[entry.id] = bind(entry.epochs, came, mine[1 + 2 * at], arm) if came <= now else OUTSIDE
        if arm == NOBODY or not (entry.eligibility is None or holds(entry.eligibility)):
            chances.pop(entry.id, None)
            continue
        variants[entry.id] = entry.told[arm]
        found[entry.id] = mine[1 + 2 * at]
    return Assigned(variants, found, chances)


def concerning(placements: Collection[str], sent: bool = False) -> Callable[[Entry], bool]:
    """Experiments that a decision for these placements is about; none with interleaved slates of what is `sent`."""

    def concerns(entry: Entry) -> bool:
        return entry.decides and (entry.placements is None or not entry.placements.isdisjoint(placements))

    return concerns if not sent else lambda entry: concerns(entry) and not entry.interleaved
