"""What the statistics of experiments promise, tried on many simulated experiments at once. Not a test.

python tests/benchmarks/experiments.py [--runs 5000]
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from cyclopts import App
from rich.console import Console
from rich.table import Table

from service.experiments.inference import differences, estimates, interleaving, mismatch, moments, planning, weighting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.experiments.inference.differences import Difference
    from service.experiments.inference.moments import Floats, Moments

app = App(name="experiments", help=__doc__, version_flags=[])
RATE = 0.05
BATCHES = 100


class Promise(msgspec.Struct, frozen=True):
    """One figure, and the range that it has to be in."""

    name: str
    measured: float
    least: float
    most: float

    @property
    def holds(self) -> bool:
        return self.least <= self.measured <= self.most


def _around(rate: float, runs: int) -> tuple[float, float]:
    """One percent to each side, or three standard errors where fewer runs are not as exact."""
    slack = max(0.01, 3 * float(np.sqrt(rate * (1 - rate) / runs)))
    return rate - slack, rate + slack


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
        once = differences.compare(_arm(arms, 1), _arm(arms, 0))
        peeked |= once.p < 0.05
        followed |= differences.follow(_arm(arms, 1), _arm(arms, 0), tuned=2 * units).p < 0.05
    return [
        Promise("false positives, read once at the end", float((once.p < 0.05).mean()), *_around(0.05, runs)),
        Promise("false positives, sequential, read 100 times", float(followed.mean()), 0.0, 0.05),
        Promise("(what reading the fixed test 100 times would give)", float(peeked.mean()), 0.06, 1.0),
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
        followed |= differences.follow(_arm(arms, 1), _arm(arms, 0), tuned=2 * batch * BATCHES).p < 0.05
    once = differences.compare(_arm(arms, 1), _arm(arms, 0))
    return [
        Promise("the same of amounts under CUPED, once", float((once.p < 0.05).mean()), *_around(0.05, runs)),
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


def moving(runs: int, seed: int = 6, units: int = 4000, blocks: int = 20) -> list[Promise]:
    """Thompson sampling while everybody's rate rises by the day: what counting says of the difference, and weighting.

    Biases are in standard errors of the mean of all runs; coverage is of nominal 95 %.
    """
    generator = np.random.default_rng(seed)
    errors = np.empty((runs, 2))
    covered = np.zeros(runs, np.bool_)
    for run in range(runs):
        arm, chance, reward = _thompson(generator, units, blocks)
        counted = estimates.estimate(moments.measure_groups(arm, 2, reward))
        weighed = estimates.estimate(weighting.weigh(arm, 2, chance, reward))
        known = differences.compare(_arm(weighed, 1), _arm(weighed, 0))
        errors[run] = counted.value[1] - counted.value[0] - LEAD, known.value - LEAD
        covered[run] = known.low <= LEAD <= known.high
    bias = errors.mean(0) / (errors.std(0) / np.sqrt(runs))
    return [
        Promise("bandit: bias of counting, in its standard errors", float(abs(bias[0])), 5.0, np.inf),
        Promise("bandit: bias of weighting", float(abs(bias[1])), 0.0, 3.0),
        Promise("bandit: bias of weighting, relative to the effect", float(abs(errors.mean(0)[1]) / LEAD), 0.0, 0.05),
        Promise("bandit: coverage of weighting", float(covered.mean()), 0.92, 0.98),
    ]


LEAD = 0.03


def _thompson(generator: np.random.Generator, units: int, blocks: int) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Arms, chances and rewards of units in order; the second arm is better by LEAD, and rates rise from 5 to 25 %."""
    shown, won = np.zeros(2), np.zeros(2)
    arms, chances, rewards = [], [], []
    for block in range(blocks):
        draws = generator.beta(1 + won, 1 + shown - won, (500, 2))
        share = 0.1 + 0.8 * float((draws[:, 1] > draws[:, 0]).mean())
        arm = (generator.random(units // blocks) < share).astype(np.int64)
        reward = (generator.random(len(arm)) < 0.05 + 0.2 * block / blocks + LEAD * arm).astype(float)
        shown += np.bincount(arm, minlength=2)
        won += np.bincount(arm, reward, 2)
        arms.append(arm)
        chances.append(np.where(arm == 1, share, 1 - share))
        rewards.append(reward)
    return np.concatenate(arms), np.concatenate(chances), np.concatenate(rewards)


def interleaved(runs: int, seed: int = 7) -> list[Promise]:
    """Views until the better of two rankers is found with 80 % power: apart, over interleaved."""
    better, worse = _rankers()
    generator = np.random.default_rng(seed)
    apart = planning.plan_units(planning.Design(mean=_click_rate(worse)), _click_rate(better) - _click_rate(worse))
    views = apart // 10
    hits = 0
    for _ in range(runs):
        hits += _interleave(generator, better, worse, views)
    return [
        Promise("interleaving: power with a tenth of the views", hits / runs, 0.8, 1.0),
        Promise("(views that an A/B test needs)", apart, 100, np.inf),
    ]


SLATE = 6


def _rankers() -> tuple[list[str], list[str]]:
    """Two rankings that differ in the order of neighbours, as a model and its successor do. Where one alone shows a
    candidate, both methods are about as good: what is gained comes from the same slate being seen by both.
    """
    ranked = [f"c{at}" for at in range(10)]
    worse = [ranked[at] for at in (1, 0, 4, 3, 5, 2, 6, 7, 8, 9)]
    return ranked, worse


def _appeal(candidate: str) -> float:
    return 0.08 * 0.75 ** int(candidate[1:])


def _click_rate(ranking: list[str]) -> float:
    """Chance that a view is clicked at all; each place is looked at less than the one above."""
    missed = 1.0
    for place, candidate in enumerate(ranking[:SLATE]):
        missed *= 1 - _appeal(candidate) * 0.85**place
    return 1 - missed


def _interleave(generator: np.random.Generator, better: list[str], worse: list[str], views: int) -> bool:
    """Whether so many views find the better ranker."""
    rounds = SLATE // 2 + 1
    patterns = [np.array([bool(number >> at & 1) for at in range(rounds)]) for number in range(2**rounds)]
    of_view = generator.integers(len(patterns), size=views)
    credit = np.zeros((views, 2), np.int64)
    for number, coins in enumerate(patterns):
        slate, teams = interleaving.draft(better, worse, SLATE, coins)
        chances = np.array([_appeal(candidate) * 0.85**place for place, candidate in enumerate(slate)])
        here = of_view == number
        clicked = generator.random((int(here.sum()), SLATE)) < chances
        for team in (0, 1):
            credit[here, team] = clicked[:, np.array(teams) == team].sum(1)
    preference = interleaving.prefer(credit)
    return preference.p < 0.05 and preference.first > preference.second


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
    return differences.compare(_arm(found, 1), _arm(found, 0))


def _plain(arms: Moments) -> Difference:
    found = estimates.estimate(arms)
    return differences.compare(_arm(found, 1), _arm(found, 0))


def _arm(found: estimates.Estimate, at: int) -> estimates.Estimate:
    return found[..., at]


@app.default
def simulate(*, runs: int = 5000) -> None:
    """Simulate and print; ends with 1 if a promise is broken.

    Parameters
    ----------
    runs
        Simulated experiments of the A/A figures; others take 2,000 at most.
    """
    fewer = min(runs, 2000)
    began = time.process_time()
    promises = [
        *same_arms(runs, 20_000),
        *same_amounts(runs),
        covariate(fewer),
        *uneven(fewer),
        *planned(fewer),
        *moving(min(runs, 1000)),
        *interleaved(min(runs, 500)),
    ]
    table = Table(title=f"{runs:,} runs, {time.process_time() - began:.0f} s of CPU", title_justify="left")
    for name in ("promise", "measured", "range", ""):
        table.add_column(name)
    for one in promises:
        table.add_row(one.name, f"{one.measured:.4g}", f"{one.least:g} to {one.most:g}", "" if one.holds else "BROKEN")
    Console().print(table)
    raise SystemExit(not all(one.holds for one in promises))


if __name__ == "__main__":
    app()
