"""The health of a model from the archive: features as logged then and now, propensities as served, matured rewards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.store import open_store
from models import bundle as bundles
from models.bundle import BundleError, calibrate
from training import logged, parts
from training.attribution import TARGETS
from training.dataset import Source
from training.health import examining
from training.health.examining import Health
from training.labels import CLICK, DAY, SECOND, TrainingError

if TYPE_CHECKING:
    from features.home import Home
    from models.bundle import Bundle
    from training.attribution import Target
    from training.labels import Flags, Floats, Ints, Queries

OFFLINE = "redis://127.0.0.1:6379"
"""Feast wants an address for its online store; a point-in-time join never uses it."""
MOST_QUERIES = 5_000
"""Of each time; spread evenly over it."""
FEWEST_QUERIES = 50


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """n exposures as they were served and rewarded."""

    customers: list[str]
    version: list[str]
    """`name/version`, else the rung."""
    propensity: Floats
    rewarded: Flags
    now: Ints


def inspect(home: Home, name: str, wanted: str, days: float) -> Health:
    """The version (or what the alias names) in the last `days` of the log, beside what it was trained on; beside what
    was logged before, if it was not trained on logged decisions. The history must be current.

    Raises TrainingError where there is too little of either, BundleError for a model that is not there.
    """
    model = load(home, name, wanted)
    described = model.description
    queries = _label(home, _reward_of(model))
    before, now = divide(queries, described.window if described.labels == "logged" else ("", ""), days)
    source = Source(home, open_store(home, OFFLINE))
    old, new = (parts.gather(source, it, described.signature).matrix for it in (before, now))
    units = len(set(before.customers)), len(set(now.customers))
    drifts = [
        examining.compare(
            feature.name, old[:, at].astype(np.float64), new[:, at].astype(np.float64), units,
            is_category=feature.kind == "category",
        )
        for at, feature in enumerate(described.signature.features)
    ]  # fmt: skip
    said, says = (calibrate(described.calibration, model.score(it.astype(np.float64))) for it in (old, new))
    return Health(
        label=model.label,
        before=_tell(before),
        now=_tell(now),
        features=sorted(drifts, key=lambda it: -it.index),
        scores=examining.compare("propensity", said, says, units),
        versions=compare_versions(read_served(home, _reward_of(model)), days, _reward_of(model), described.reward),
    )


def load(home: Home, name: str, wanted: str) -> Bundle:
    version = bundles.read_aliases(home.bundles, name).get(wanted, wanted)
    folder = home.bundles / name / version
    if not folder.is_dir():
        raise BundleError(f"there is no model {name}/{version}: neither an alias nor a version of {name!r}")
    return bundles.load(folder)


def divide(queries: Queries, window: tuple[str, str], days: float) -> tuple[Queries, Queries]:
    """(what to compare with, what is now). Raises TrainingError where one of them has too few queries.

    Of a young log, now is what came after what the model was trained on.
    """
    since = int(queries.now.max()) - int(days * DAY)
    recent = queries.now > since
    learnt = np.zeros(len(queries), np.bool_)
    if all(window):
        first, last = (int(datetime.fromisoformat(it).timestamp() * SECOND) for it in window)
        learnt = (queries.now >= first) & (queries.now <= last)
        after = recent & (queries.now > last)
        if (learnt & ~recent).sum() < FEWEST_QUERIES <= min(learnt.sum(), after.sum()):
            recent = after
        learnt &= ~recent
    if learnt.sum() < FEWEST_QUERIES:
        learnt = ~recent
    for what, chosen in (("before", learnt), (f"in the last {days:g} days", recent)):
        if chosen.sum() < FEWEST_QUERIES:
            raise TrainingError(
                f"{int(chosen.sum())} slots were seen {what}, and at least {FEWEST_QUERIES} are needed to tell "
                "anything: choose other --days, or wait"
            )
    return _thin(queries, learnt), _thin(queries, recent)


def _thin(queries: Queries, keep: Flags) -> Queries:
    chosen = np.flatnonzero(keep)
    if len(chosen) > MOST_QUERIES:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MOST_QUERIES).astype(np.int64)]
    thinned = np.zeros(len(queries), np.bool_)
    thinned[chosen] = True
    return queries.select(thinned)


def _label(home: Home, reward: Target) -> Queries:
    """Every seen slot, with the customers' states as logged; joined from the history where the layout has changed."""
    try:
        return logged.label(home, reward, with_states=True)
    except TrainingError:
        return logged.label(home, reward)


def _reward_of(model: Bundle) -> Target:
    return next((target for target in TARGETS if target == model.description.reward), CLICK)


def read_served(home: Home, reward: Target) -> Served:
    """Every exposure of which the window is closed, once."""
    shown = logged.read_shown(home, reward)
    rows: list[tuple[str, str, float, bool, int]] = []
    for decision in logged.read_decisions(home):
        seen = shown.of(decision)
        for slot in decision.placements if seen else ():
            version = slot.model or f"rung {slot.rung or decision.rung}"
            for item in slot.items:
                if (slot.id, item.id) in seen:
                    propensity = np.nan if item.propensity is None else item.propensity
                    rewarded, _ = seen[slot.id, item.id]
                    rows.append((decision.customer, version, propensity, rewarded, decision.time))
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), (), ()]
    return Served(
        customers=[str(it) for it in columns[0]],
        version=[str(it) for it in columns[1]],
        propensity=np.array(columns[2], np.float64),
        rewarded=np.array(columns[3], np.bool_),
        now=np.array(columns[4], np.int64),
    )


def compare_versions(served: Served, days: float, counted: str, predicted: str) -> list[examining.Version]:
    """All versions that served lately, those with most exposures first; `counted` is the reward, `predicted` the one
    that propensities are of.
    """
    if not len(served.now):
        return []
    recent = served.now > served.now.max() - int(days * DAY)
    found = []
    for label in dict.fromkeys(served.version):
        mine = np.flatnonzero(recent & np.array([it == label for it in served.version]))
        if len(mine):
            customers = [served.customers[at] for at in mine.tolist()]
            comparable = counted == predicted
            found.append(
                examining.judge(label, customers, served.propensity[mine], served.rewarded[mine], comparable=comparable)
            )
    return sorted(found, key=lambda it: -it.exposures)


def _tell(queries: Queries) -> tuple[str, str, int]:
    first, last = (
        datetime.fromtimestamp(int(it) / SECOND, UTC).date() for it in (queries.now.min(), queries.now.max())
    )
    return first.isoformat(), last.isoformat(), len(queries.owner)
