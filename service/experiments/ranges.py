"""Which buckets belong to which variant, and which of a layer's to which experiment: so that a change of weights
moves the fewest units. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.catalog.experiments import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.catalog.experiments import Experiment, Ranges


def weights_of(experiment: Experiment) -> list[float]:
    """The weights of the variants; equal ones where none is given."""
    given = [variant.weight for variant in experiment.variants]
    if all(weight is None for weight in given):
        return [1.0 / len(given)] * len(given)
    return [weight or 0.0 for weight in given]


def sizes_of(weights: Sequence[float], coverage: float) -> list[int]:
    """How many buckets each gets, together `coverage` of all: the rest of a rounding goes to the largest remainders."""
    exact = [weight * coverage * BUCKETS for weight in weights]
    sizes = [int(size + 1e-6) for size in exact]
    missing = round(sum(exact)) - sum(sizes)
    by_remainder = sorted(range(len(exact)), key=lambda at: (sizes[at] - exact[at], at))
    for at in by_remainder[:missing]:
        sizes[at] += 1
    return sizes


def spread(weights: Sequence[float], coverage: float = 1.0) -> list[Ranges]:
    """The ranges of an experiment that has none yet: as GrowthBook has them, each variant begins where it would with
    all units, so that more coverage moves nobody.

    >>> spread([0.5, 0.5], 0.5)
    [((0, 2500),), ((5000, 7500),)]
    """
    found: list[Ranges] = []
    start = 0
    for whole, size in zip(sizes_of(weights, 1.0), sizes_of(weights, coverage), strict=True):
        found.append(((start, start + size),) if size else ())
        start += whole
    return found


def move(before: Mapping[str, Ranges], wanted: Mapping[str, int]) -> dict[str, Ranges]:
    """Ranges of the wanted sizes that differ from those before in the fewest buckets.

    Who shrinks keeps its first buckets. Who grows takes those that others gave up, as their units move in any case,
    and then free ones.
    """
    kept = {name: _list(before.get(name, ()))[:size] for name, size in wanted.items()}
    owned = {bucket for ranges in before.values() for bucket in _list(ranges)}
    taken = {bucket for buckets in kept.values() for bucket in buckets}
    released = sorted(owned - taken)
    free = [bucket for bucket in range(BUCKETS) if bucket not in owned]
    left = iter(released + free)
    for name, size in wanted.items():
        missing = size - len(kept[name])
        kept[name] = sorted([*kept[name], *(next(left) for _ in range(missing))])
    return {name: _join(buckets) for name, buckets in kept.items()}


def size_of(ranges: Ranges) -> int:
    """How many buckets ranges have."""
    return sum(end - start for start, end in ranges)


def _list(ranges: Ranges) -> list[int]:
    return [bucket for start, end in ranges for bucket in range(start, end)]


def _join(buckets: Iterable[int]) -> Ranges:
    """Ascending buckets as ranges."""
    found: list[tuple[int, int]] = []
    for bucket in buckets:
        if found and found[-1][1] == bucket:
            found[-1] = (found[-1][0], bucket + 1)
        else:
            found.append((bucket, bucket + 1))
    return tuple(found)
