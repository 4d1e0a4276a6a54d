"""Which weights bind a unit: those of the moment when it came in, whatever they become later. Pure.

A unit comes in when it is seen first; one from before the experiment at once, or at a moment of its own. Nothing has to
be stored of it: the weights that held stay in the catalog, and what it had it has for good.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

from service.catalog.experiments import BUCKETS
from service.experiments.ranges import size_of, sizes_of, weights_of

if TYPE_CHECKING:
    from service.catalog.experiments import Experiment

NEW = (1 << 63) - 1
"""As the moment when a unit was seen first: it is seen now."""
NOBODY = -1
OUTSIDE = NOBODY, 0.0
"""Variant and chance of who is not in."""


class Epoch(msgspec.Struct, frozen=True):
    """Weights, as buckets of each variant: (k,) where they begin, and how many."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]

    def arm(self, bucket: int) -> int:
        """The variant of a bucket, or NOBODY."""
        at = bisect_right(self.starts, bucket) - 1
        return at if bucket - self.starts[at] < self.sizes[at] else NOBODY

    def chance(self, arm: int) -> float:
        """With which a unit that takes part is given the variant: exactly, as there are so many buckets."""
        return self.sizes[arm] / sum(self.sizes)


class Epochs(msgspec.Struct, frozen=True, kw_only=True):
    """All weights of an experiment."""

    since: tuple[int, ...]
    """Microseconds, ascending, of all but the first weights."""
    first: tuple[float, ...]
    """(k,) chances under the first weights, of which the experiment's ranges say whose each bucket is."""
    moved: tuple[Epoch, ...]
    begins: int
    """The experiment's start, in microseconds."""
    returning: int
    """In microseconds; 0: units from before come in at once."""


def lay(experiment: Experiment, begins: int) -> Epochs:
    """Of an experiment with stored ranges."""
    coverage = 1.0 if experiment.layer else experiment.share
    sizes = [size_of(variant.ranges or ()) for variant in experiment.variants]
    if not sum(sizes):
        sizes = sizes_of(weights_of(experiment), 1.0)
    returning = experiment.allocation.returning
    return Epochs(
        since=tuple(move.since for move in experiment.moves),
        first=tuple(size / sum(sizes) for size in sizes),
        moved=tuple(_epoch(move.weights, coverage) for move in experiment.moves),
        begins=begins,
        returning=0 if returning is None else int(returning.total_seconds() * 1e6),
    )


def _epoch(weights: tuple[float, ...], coverage: float) -> Epoch:
    """Each variant begins where it would with all units, as it does under the first weights."""
    starts = accumulate(sizes_of(weights, 1.0)[:-1], initial=0)
    return Epoch(tuple(starts), tuple(sizes_of(weights, coverage)))


def enter(epochs: Epochs, seen: int, now: int, own: int) -> int:
    """When a unit that was seen first at `seen` came in; after `now`: it is not in yet. `own` is a bucket that says at
    which moment one from before the experiment comes in.
    """
    moment = min(seen, now)
    if moment < epochs.begins and epochs.returning:
        return epochs.begins + epochs.returning * own // BUCKETS
    return moment


def bind(epochs: Epochs, moment: int, bucket: int, first: int) -> tuple[int, float]:
    """(variant or NOBODY, its chance) of a unit that came in at a moment; `first` is its variant by the ranges."""
    at = bisect_right(epochs.since, moment) - 1
    if at < 0:
        return (first, epochs.first[first]) if first != NOBODY else OUTSIDE
    arm = epochs.moved[at].arm(bucket)
    return (arm, epochs.moved[at].chance(arm)) if arm != NOBODY else OUTSIDE
