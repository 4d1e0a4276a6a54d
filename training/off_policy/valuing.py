"""What a model would have earned in the place of those that decided: valued from the logged decisions.

Each slot is valued by its first pick: weights of picks further down multiply, and what might have stood there depends
on caps and groups. Rewards are clicks, matured; the picks of placements above are taken as they were.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.rows import LAYOUTS
from features.store import open_store
from models import off_policy
from models.off_policy import OffPolicyError
from training import logged
from training.collector import Collector
from training.dataset import Source
from training.labels import CLICK, read_zone
from training.off_policy.pools import Pool, read_catalogs, reconstruct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from features.events.schema import Decision, Slot
    from features.home import Home
    from models.off_policy import Rounds, Valuation
    from training.labels import Floats, Ints

    Propensities = Callable[[dict[str, Floats]], Floats]
    """Features of rows by name -> P(reward given shown) of each: `Bundle.propensities` is one."""

OFFLINE = "redis://127.0.0.1:6379"
"""Feast wants an address for its online store; a point-in-time join never uses it."""
FOLDS = 5


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """A slot with all that it is valued by."""

    decision: Decision
    slot: Slot
    pool: Pool
    clicked: bool


class Found(msgspec.Struct, frozen=True):
    """The slots that can be valued, and how many cannot, by reason."""

    slots: list[Logged]
    left_out: dict[str, int]


def value_of(
    home: Home,
    propensities: Propensities,
    *,
    placements: tuple[str, ...] | None = None,
    since: int | None = None,
    until: int | None = None,
    most: int = 5_000,
) -> Valuation:
    """The value, in clicks a slot, of serving by `propensities` what was decided between two instants (microseconds,
    both included), with the exploration that the placements have.

    `.doubly_robust.low` is the lower end of DR's 95 % interval, `.logged` what was earned in the same slots, and
    `.is_trusted` False where support is too thin for any of it. At most `most` slots, spread evenly over the time. A
    model must not have learnt from these slots. The history must be current. Raises OffPolicyError when there is
    nothing to value it by.
    """
    return value_slots(home, propensities, find(home, placements, since, until, most))


def value_slots(home: Home, propensities: Propensities, found: Found) -> Valuation:
    """The same of slots found before. Raises OffPolicyError without any."""
    if not found.slots:
        reasons = "; ".join(f"{count:,} slots: {reason}" for reason, count in found.left_out.items())
        raise OffPolicyError(f"no logged decision that was seen can be valued{f' ({reasons})' if reasons else ''}")
    return off_policy.value(weigh(found.slots, _score(home, propensities, found.slots)))


def find(
    home: Home,
    placements: tuple[str, ...] | None = None,
    since: int | None = None,
    until: int | None = None,
    most: int = 5_000,
) -> Found:
    """The slots of which the first pick was seen, its window closed, and its pool can be told."""
    # What was decided from some moment on has arrived since, and so has who saw it.
    shown, catalogs = logged.read_shown(home, since=since), read_catalogs(home)
    slots: list[Logged] = []
    left_out: Counter[str] = Counter()
    for decision in logged.read_decisions(home, since):
        if (since is not None and decision.time < since) or (until is not None and decision.time > until):
            continue
        seen = shown.of(decision)
        for slot, earlier in _slots(decision):
            if not slot.items or (slot.id, slot.items[0].id) not in seen or (placements and slot.id not in placements):
                continue
            pool = reconstruct(catalogs, decision, slot, earlier)
            if isinstance(pool, str):
                left_out[pool] += 1
                continue
            clicked, _ = seen[slot.id, slot.items[0].id]
            slots.append(Logged(decision=decision, slot=slot, pool=pool, clicked=clicked))
    if len(slots) > most:
        slots = [slots[at] for at in np.linspace(0, len(slots) - 1, most).astype(np.int64).tolist()]
    return Found(slots, dict(left_out))


def _slots(decision: Decision) -> Iterator[tuple[Slot, set[str]]]:
    """Each slot with the candidates of those before it: none stands twice on a page."""
    earlier: set[str] = set()
    for slot in decision.placements:
        yield slot, set(earlier)
        earlier.update(item.id for item in slot.items)


def _score(home: Home, propensities: Propensities, slots: list[Logged]) -> Floats:
    """(r,) the propensity of every candidate of every pool, slot by slot."""
    current = LAYOUTS["customer"].version
    as_logged = all(it.decision.state is None or it.decision.state.layout == current for it in slots)
    collector = Collector(read_zone(home), CLICK, as_logged)
    for it in slots:
        collector.add(it.decision, it.slot.id, [(candidate, 1, False, 0.0) for candidate in it.pool.candidates])
    queries = collector.finish()
    scored = np.empty(len(queries.owner))
    for chunk in Source(home, open_store(home, OFFLINE)).read(queries):
        scored[chunk.rows] = propensities(chunk.features)
    return scored


def weigh(slots: list[Logged], propensity: Floats) -> Rounds:
    """What the target would have picked in each slot, and how likely; `propensity` (r,) of all pools' candidates."""
    starts = np.concatenate([[0], np.cumsum([len(it.pool.candidates) for it in slots])])
    target, expected, target_expected = np.empty(len(slots)), np.empty(len(slots)), np.empty(len(slots))
    missed = 0.0
    for at, it in enumerate(slots):
        mine = propensity[starts[at] : starts[at + 1]]
        picked = it.pool.candidates.index(it.slot.items[0].id)
        best = int(np.argmax(mine * np.array(it.pool.worth)))  # of equal ones the first, as arbitration has it
        uniform = it.pool.uniform
        target[at] = uniform / len(mine) + (1.0 - uniform) * (picked == best)
        expected[at] = mine[picked]
        target_expected[at] = uniform * mine.mean() + (1.0 - uniform) * mine[best]
        if it.pool.logged_uniform == 0.0 and not it.pool.is_drawn:
            missed += 1.0 - target[at]
    reward = np.array([float(it.clicked) for it in slots])
    unit = _number([it.decision.customer for it in slots])
    scale = _rescale(reward, expected, unit)
    return off_policy.gather(
        reward,
        np.array([it.slot.items[0].selection_probability or 0.0 for it in slots]),
        target,
        unit=unit,
        expected=expected * scale,
        target_expected=target_expected * scale,
        uncovered=missed / len(slots),
    )


def _rescale(reward: Floats, expected: Floats, unit: Ints) -> Floats:
    """(n,) what brings the model's level to that of the rewards: a model of other rewards than clicks ranks as it does,
    but is wrong by far. Of each fold from the others, so that no slot is expected from itself.
    """
    fold = unit % FOLDS
    rewards, level = np.bincount(fold, reward, minlength=FOLDS), np.bincount(fold, expected, minlength=FOLDS)
    left = level.sum() - level
    scale: Floats = np.where(left > 0.0, (rewards.sum() - rewards) / np.where(left > 0.0, left, 1.0), 1.0)[fold]
    return scale


def _number(texts: list[str]) -> Ints:
    known: dict[str, int] = {}
    return np.array([known.setdefault(text, len(known)) for text in texts], np.int64)
