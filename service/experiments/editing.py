"""Changes that a catalog may not make to an experiment that has begun, as what was measured would be another thing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from service.catalog.windows import moment
from service.experiments.ranges import weights_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.documents import Place
    from service.catalog.experiments import Experiment
    from service.catalog.schema import Catalog

    Found = Iterator[tuple[Place, str]]

FIXED = ("unit", "layer", "placements", "eligibility", "analysis", "allocation")
ARMS = ("model", "strategy", "value_from", "exploration", "candidates", "weights", "content", "value")
INSTEAD = "set its `status` to stopped, and begin another experiment with an id of its own"


def find(before: Catalog, after: Catalog, now: int) -> Found:
    """(place in `after`, what is wrong); `now` in microseconds tells which experiments have begun."""
    zone = ZoneInfo(before.time_zone)
    fresh = {experiment.id: at for at, experiment in enumerate(after.experiments)}
    for old in before.experiments:
        if not has_begun(old, zone, now):
            continue
        at = fresh.get(old.id)
        if at is None:
            if old.status == "running":
                yield ("experiments",), f"{old.id!r} is running: set its `status` to stopped before it is taken out"
            continue
        new = after.experiments[at]
        for place, problem in _of_experiment(old, new):
            yield ("experiments", at, *place), problem
        begins, begun = (moment(one.starts, zone, ends=False) for one in (new, old))
        if begins > now or (begins != begun and old.allocation.kind == "thompson"):
            yield (
                ("experiments", at, "starts"),
                f"{old.id!r} has begun, and units have met it: leave `starts`, and {INSTEAD}",
            )
    changed = (before.holdout is None) != (after.holdout is None)
    if before.holdout and after.holdout and not changed and after.holdout.share < before.holdout.share:
        yield ("holdout", "share"), "who was held and is let go belongs to neither side: take the holdout out instead"


def has_begun(experiment: Experiment, zone: ZoneInfo, now: int) -> bool:
    """Whether units may have met it."""
    return experiment.status != "draft" and moment(experiment.starts, zone, ends=False) <= now


def _of_experiment(old: Experiment, new: Experiment) -> Found:
    if new.status == "draft":
        yield ("status",), f"{old.id!r} has begun, and cannot be a draft again: {INSTEAD}"
        return
    for name in FIXED:
        if getattr(old, name) != getattr(new, name):
            yield (name,), f"{old.id!r} has begun, and this would mix two experiments in one result: {INSTEAD}"
    arms = {variant.id: variant for variant in old.variants}
    if [variant.id for variant in new.variants] != list(arms):
        yield ("variants",), f"{old.id!r} has begun with the variants {', '.join(arms)}: {INSTEAD}"
        return
    if old.allocation.kind == "thompson" and weights_of(old) != weights_of(new):
        yield (
            ("variants",),
            f"the weights of {old.id!r} move by themselves, and those it began with bind units: leave them. To set "
            f"weights by hand, {INSTEAD}",
        )
    for at, variant in enumerate(new.variants):
        for name in ARMS:
            if _differ(getattr(arms[variant.id], name), getattr(variant, name)):
                yield ("variants", at, name), f"{old.id!r} has begun with another {name!r} here: {INSTEAD}"


def _differ(one: Any, other: Any) -> bool:
    return type(one) is not type(other) or one != other
