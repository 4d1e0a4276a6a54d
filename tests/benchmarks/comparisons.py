"""A/B tests of fixed weights, many at once: what their statistics promise. Not a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from service.experiments.inference import differences, estimates, mismatch, moments, planning
from tests.benchmarks.promises import Promise, around, pick_arm

if TYPE_CHECKING:
    from service.experiments.inference.differences import Difference
    from service.experiments.inference.moments import Moments

RATE = 0.05
BATCHES = 100


def same_arms(runs: int, units: int, seed: int = 1) -> list[Promise]:
    """A/A: how often two equal arms are told apart, by one reading at the end and by one after each of 100 batches."""
    generator = np.random.default_rng(seed)
    batch = units // BATCHES
    sofar: Moments | None = None
    peeked, followed = np.zeros(runs, np.bool_), np.zeros(runs, np.bool_)
    for _ in range(BATCHES):
        counted = moments.count(batch, generator.binomial(batch, RATE, (runs, 2)))
        sofar = counted if sofar is None else sofar + counted
        arms = estimates.adjust(sofar)
        once = differences.compare(pick_arm(arms, 1), pick_arm(arms, 0))
        peeked |= once.p < 0.05
        followed |= differences.follow(pick_arm(arms, 1), pick_arm(arms, 0), tuned=2 * units).p < 0.05
    return [
        Promise("false positives, read once at the end", float((once.p < 0.05).mean()), *around(0.05, runs)),
        Promise("false positives, sequential, read 100 times", float(followed.mean()), 0.0, 0.05),
        Promise("(what reading the fixed test 100 times would give)", float(peeked.mean()), 0.06, 1.0),
    ]


def same_small_arm(runs: int, rate: float = 0.01, seed: int = 7) -> list[Promise]:
    """A/A of arms of 9:1 with rare conversions, looked at 100 times, from few on."""
    generator = np.random.default_rng(seed)
    batch = np.array([90, 10])
    sofar: Moments | None = None
    followed = np.zeros(runs, np.bool_)
    for _ in range(BATCHES):
        counted = moments.count(batch, generator.binomial(batch, rate, (runs, 2)))
        sofar = counted if sofar is None else sofar + counted
        arms = estimates.adjust(sofar)
        followed |= differences.follow(pick_arm(arms, 1), pick_arm(arms, 0), tuned=10_000).p < 0.05
    return [
        Promise(f"the same of arms of 9:1 and conversions of {rate:.0%}, 100 times", float(followed.mean()), 0.0, 0.05)
    ]


def same_amounts(runs: int, batch: int = 20, seed: int = 2) -> list[Promise]:
    """A/A with skewed amounts and a covariate: the sequential intervals of CUPED's residuals, read 100 times."""
    generator = np.random.default_rng(seed)
    sofar: Moments | None = None
    followed = np.zeros(runs, np.bool_)
    for _ in range(BATCHES):
        habit = generator.gamma(2.0, 1.0, (runs, 2, batch))
        amount = habit + generator.exponential(1.0, habit.shape)
        measured = moments.measure(amount, 1.0, habit)
        sofar = measured if sofar is None else sofar + measured
        arms = estimates.adjust(sofar)
        followed |= differences.follow(pick_arm(arms, 1), pick_arm(arms, 0), tuned=2 * batch * BATCHES).p < 0.05
    once = differences.compare(pick_arm(arms, 1), pick_arm(arms, 0))
    return [
        Promise("the same of amounts under CUPED, once", float((once.p < 0.05).mean()), *around(0.05, runs)),
        Promise("the same of amounts under CUPED, 100 times", float(followed.mean()), 0.0, 0.05),
    ]


def covariate(runs: int, units: int = 500, correlation: float = 0.7, seed: int = 3) -> Promise:
    """Width of CUPED's intervals over that without, over what theory says: sqrt(1 - correlation^2)."""
    generator = np.random.default_rng(seed)
    habit = generator.standard_normal((runs, 2, units))
    amount = 10 + correlation * habit + np.sqrt(1 - correlation**2) * generator.standard_normal(habit.shape)
    measured = moments.measure(amount, 1.0, habit)
    plain, adjusted = (found(measured) for found in (_plain, _adjusted))
    factor = float(np.median((adjusted.high - adjusted.low) / (plain.high - plain.low)))
    return Promise("CUPED's width / theory's", factor / np.sqrt(1 - correlation**2), 0.95, 1.05)


def uneven(runs: int, units: int = 100_000, seed: int = 4) -> list[Promise]:
    """A split of 51:49 that was meant to be even, and even ones."""
    generator = np.random.default_rng(seed)
    found = []
    for share in (0.51, 0.5):
        first = generator.binomial(units, share, runs)
        p = mismatch.check_shares(np.stack([first, units - first], 1), [0.5, 0.5])
        found.append(float((p < mismatch.ALARM).mean()))
    return [
        Promise("51:49 of 100,000 units found", found[0], 0.99, 1.0),
        Promise("even splits suspected", found[1], 0.0, 0.003),
    ]


def planned(runs: int, seed: int = 5) -> list[Promise]:
    """Power of the numbers of units that the planner answers: conversions, amounts under CUPED, a smaller arm."""
    generator = np.random.default_rng(seed)
    designs = {
        "conversion 5 % -> 5.5 %": (planning.Design(mean=0.05), 0.005),
        "conversion, shares 80:20": (planning.Design(mean=0.05, shares=(0.8, 0.2), power=0.9), 0.01),
        "amounts, correlation 0.6": (planning.Design(mean=10, deviation=5, correlation=0.6), 0.3),
    }
    promises = []
    for name, (design, effect) in designs.items():
        units = planning.plan_units(design, effect)
        found = float((_run(generator, design, effect, units, runs).p < 0.05).mean())
        promises.append(Promise(f"power - promise: {name}", found - design.power, -0.03, 0.03))
    return promises


def _run(generator: np.random.Generator, design: planning.Design, effect: float, units: int, runs: int) -> Difference:
    """Experiments as they were planned."""
    sizes = [round(units * share / sum(design.shares)) for share in design.shares]
    if design.deviation is None:
        rates = (design.mean, design.mean + effect)
        counted = [generator.binomial(size, rate, runs) for size, rate in zip(sizes, rates, strict=True)]
        return _adjusted(moments.count(np.array(sizes), np.stack(counted, 1)))
    arms = []
    for size, mean in zip(sizes, (design.mean, design.mean + effect), strict=True):
        habit = generator.standard_normal((runs, size))
        rest = np.sqrt(1 - design.correlation**2) * generator.standard_normal(habit.shape)
        arms.append(moments.measure(mean + design.deviation * (design.correlation * habit + rest), 1.0, habit))
    return _adjusted(moments.stack(arms))


def _adjusted(arms: Moments) -> Difference:
    found = estimates.adjust(arms)
    return differences.compare(pick_arm(found, 1), pick_arm(found, 0))


def _plain(arms: Moments) -> Difference:
    found = estimates.estimate(arms)
    return differences.compare(pick_arm(found, 1), pick_arm(found, 0))
