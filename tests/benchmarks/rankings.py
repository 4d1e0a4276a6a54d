"""Interleaved rankings, many at once: how few views find the better ranker, and how often equal ones are told apart.
Not a test.
"""

from __future__ import annotations

import numpy as np

from service.experiments.inference import interleaving, planning
from tests.benchmarks.promises import Promise, around


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


def even_rankers(runs: int, units: int = 2000, looks: int = 100, seed: int = 8) -> list[Promise]:
    """How often two rankers that are clicked alike are told apart: by one reading, and by one after each batch."""
    generator = np.random.default_rng(seed)
    first = generator.binomial(units // looks, 0.5, (runs, looks)).cumsum(axis=1)
    second = np.arange(1, looks + 1) * (units // looks) - first
    always = (interleaving.doubt(first, second, 0.5) < np.log(0.05)).any(axis=1)
    ends = [
        interleaving.prefer(np.repeat(np.eye(2, dtype=np.int64), pair, axis=0)).p
        for pair in zip(first[:, -1].tolist(), second[:, -1].tolist(), strict=True)
    ]
    return [
        Promise(
            "interleaving: equal rankers told apart, read once",
            float((np.array(ends) < 0.05).mean()),
            0.0,
            around(0.05, runs)[1],
        ),
        Promise("interleaving: the same, read 100 times", float(always.mean()), 0.0, 0.05),
    ]
