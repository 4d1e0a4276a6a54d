"""Whether a step's guardrails hold: the challenger's units beside the champion's, by sequential intervals. Pure.

Each step is an experiment of its own, between the units that it moves and those that it leaves: both had the champion
until it began, so that nothing of earlier steps is in its figures. Chances do not move within a step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from models.ramped import Guarded
from service.experiments.inference import differences, estimates, mismatch, moments
from service.ramps.counting import CLICKS, DECISIONS, ERRORS, SEEN, TOOK
from service.ramps.state import Base

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.experiments.inference.estimates import Estimate
    from service.ramps.counting import Counts
    from service.ramps.state import Plan

    Floats = NDArray[np.float64]

CLICK_RATE, ERROR_RATE, LATENCY = "click rate", "error rate", "latency"
CHAMPION, CHALLENGER = 0, 1
GUARDS = (CLICK_RATE, ERROR_RATE, LATENCY)
LEAST_MILLISECONDS = 1.0
"""A decision that takes so much longer is not slower in any way that matters."""
Act = Literal["wait", "advance", "take back"]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a step."""

    units: int
    """Of the challenger, that saw a decision."""
    beside: int
    guards: list[Guarded]
    mismatch: float
    """p of the units having come to both sides as their buckets say; NaN without a champion."""
    base: Base | None
    """The champion's figures, for a step without one."""


class Decided(msgspec.Struct, frozen=True):
    act: Act
    why: str


def look(counts: Counts, plan: Plan, base: Base | None) -> Look:
    """`base` stands in for the champion where all units have the challenger: for the error rate, the one that does not
    change with the hour.

    A level of (1 - confidence) is shared by all steps and guardrails (Bonferroni), and each is looked at from one side.
    """
    has_champion = counts.chance < 1.0
    alpha = 2.0 * (1.0 - plan.confidence) / (len(GUARDS) * len(plan.steps))
    tuned = plan.units / counts.chance if has_champion else 2.0 * plan.units
    found = {name: _estimate(counts, name) for name in GUARDS}
    guards, kept = [], {}
    for name, both in found.items():
        champion, challenger = both[np.array([CHAMPION])], both[np.array([CHALLENGER])]
        if not has_champion:
            if base is None or name != ERROR_RATE:
                continue  # clicks and times change with the hour; a service that is too slow for all of it errs
            champion = _restore(base, name)
        guard = _guard(name, champion, challenger, plan, alpha, tuned)
        guards.append(_show_raw(guard, counts, has_champion) if name == ERROR_RATE else guard)
        kept[name] = (float(champion.value[0]), float(champion.variance[0]))
    seen = counts.totals[:, SEEN] > 0
    units, beside = (int((seen & (counts.arm == arm)).sum()) for arm in (1, 0))
    return Look(
        units=units,
        beside=beside,
        guards=guards,
        mismatch=_check(counts) if has_champion else math.nan,
        base=Base(units=beside, values=kept) if has_champion else base,
    )


def decide(found: Look, plan: Plan, at: int, elapsed: float) -> Decided:
    """What a look leads to; `at` is the step's position, `elapsed` its seconds so far."""
    if harm := [tell(guard) for guard in found.guards if guard.state == "worse"]:
        return Decided("take back", "; ".join(harm))
    missing = _miss(found, plan, at, elapsed)
    if missing is None:
        if found.mismatch < mismatch.ALARM:
            return Decided("take back", f"units did not come to both sides as meant (p = {found.mismatch:.2g})")
        return Decided("advance", "the guardrails hold")
    if elapsed > plan.patience:
        return Decided("take back", f"after {elapsed / 86400:.1f} days there is still {missing}")
    return Decided("wait", missing)


def _miss(found: Look, plan: Plan, at: int, elapsed: float) -> str | None:
    """What is missing for the next step; None if nothing is."""
    if found.units < plan.units:
        return f"{found.units:,} of {plan.units:,} units"
    if elapsed < plan.seconds:
        return f"{elapsed / 60:.0f} of {plan.seconds / 60:.0f} minutes"
    if any(guard.state == "unknown" for guard in found.guards):
        return f"too little known of the {next(it.name for it in found.guards if it.state == 'unknown')}"
    clicks = next((guard for guard in found.guards if guard.name == CLICK_RATE), None)
    is_last = at + 2 == len(plan.steps)
    if is_last and clicks is not None and (clicks.low is None or clicks.low <= -plan.tolerated):
        return f"no certainty that fewer than {plan.tolerated:.0%} of the clicks are lost"
    return None


def tell(guard: Guarded) -> str:
    """In words.

    >>> tell(Guarded(name="click rate", champion=0.05, challenger=0.04, low=-0.3, high=-0.1, state="worse"))
    'click rate 4.00 % beside 5.00 % (-30.0 % to -10.0 %)'
    """
    if guard.champion is None or guard.challenger is None:
        return f"{guard.name} not known"
    if guard.name == LATENCY:
        said = f"{guard.name} {guard.challenger:.2f} ms beside {guard.champion:.2f} ms"
    else:
        said = f"{guard.name} {100 * guard.challenger:.2f} % beside {100 * guard.champion:.2f} %"
    if guard.low is None or guard.high is None:
        return said
    unit = "points" if guard.name == ERROR_RATE else "%"
    return f"{said} ({100 * guard.low:+.1f} {unit} to {100 * guard.high:+.1f} {unit})"


def _estimate(counts: Counts, name: str) -> Estimate:
    """Value and variance (2,) of champion and challenger; units are independent, their decisions are not."""
    totals, arm = counts.totals, counts.arm
    if name == CLICK_RATE:
        seen = totals[:, SEEN] > 0
        totals, arm = totals[seen], arm[seen]
        return estimates.estimate(moments.measure_groups(arm, 2, totals[:, CLICKS], totals[:, SEEN]))
    if name == LATENCY:
        return estimates.estimate(moments.measure_groups(arm, 2, totals[:, TOOK] / 1e3, totals[:, DECISIONS]))
    # Half a unit of one decision that failed, half of one that did not: where none failed, none might vary at all
    # (the prior of Jeffreys, as Brown, Cai and DasGupta 2001, Interval estimation for a binomial proportion, 4.1.2).
    failed, made = totals[:, ERRORS], totals[:, DECISIONS]
    both = np.array([0, 0, 1, 1])
    failed, made = np.append(failed, [0.5, 0.0, 0.5, 0.0]), np.append(made, [0.5, 0.5, 0.5, 0.5])
    return estimates.estimate(moments.measure_groups(np.append(arm, both), 2, failed, made))


def _show_raw(guard: Guarded, counts: Counts, has_champion: bool) -> Guarded:
    """The error rate as it was counted: what was added to it is for its interval only."""
    totals = [counts.totals[counts.arm == arm].sum(axis=0) for arm in (CHAMPION, CHALLENGER)]
    champion, challenger = (float(it[ERRORS] / it[DECISIONS]) if it[DECISIONS] else None for it in totals)
    shown = {"champion": champion} if has_champion else {}
    return msgspec.structs.replace(guard, challenger=challenger, **shown)


def _restore(base: Base, name: str) -> Estimate:
    value, variance = (np.array([each]) for each in base.values[name])
    return estimates.Estimate(units=np.array([float(base.units)]), value=value, variance=variance, plain=variance)


def _guard(name: str, champion: Estimate, challenger: Estimate, plan: Plan, alpha: float, tuned: float) -> Guarded:
    found = differences.follow(challenger, champion, alpha, tuned)
    value, lowest, highest = (float(each[0]) for each in (found.value, found.low, found.high))
    if name == ERROR_RATE:
        is_worse, low, high = lowest > plan.errors, lowest, highest
    elif name == LATENCY:
        low, high = float(found.lift_low[0]), float(found.lift_high[0])
        is_worse = low > plan.slower and value > LEAST_MILLISECONDS
    else:
        low, high = float(found.lift_low[0]), float(found.lift_high[0])
        is_worse = highest < 0.0
    known = not math.isnan(lowest) or _is_certain(champion, challenger)
    return Guarded(
        name=name,
        champion=_number(champion.value[0]),
        challenger=_number(challenger.value[0]),
        low=_number(low),
        high=_number(high),
        state="worse" if is_worse else "holds" if known else "unknown",
    )


def _is_certain(champion: Estimate, challenger: Estimate) -> bool:
    """Enough units on both sides, and none differs from another: as where nobody clicks at all."""
    least = min(champion.units[0], challenger.units[0])
    return bool(least >= differences.LEAST_UNITS and challenger.variance[0] == 0.0 == champion.variance[0])


def _check(counts: Counts) -> float:
    """Of all units with a decision: what came of it cannot have moved them yet, in either side."""
    units = np.bincount(counts.arm, minlength=2)
    return float(mismatch.check_shares(units, np.array([1.0 - counts.chance, counts.chance])))


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
