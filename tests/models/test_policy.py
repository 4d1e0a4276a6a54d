"""Arbitration and exploration: every probability that is told is the one that is drawn."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.policy import Conflict, Constraint, Exploration, Quota, draw, order, pick, prioritise
from models.thompson import DRAWS, STRENGTH, sample

SEEDS = 5_000


def oracle(slate: tuple[int, ...], ranking: list[int], exploration: float) -> list[float]:
    """The chance of each pick of a slate given those above it, said naively."""
    chances = []
    for rank, picked in enumerate(slate):
        left = [candidate for candidate in ranking if candidate not in slate[:rank]]
        chance = exploration / len(left)
        if picked == left[0]:
            chance += 1.0 - exploration
        chances.append(chance)
    return chances


@pytest.mark.parametrize("exploration", [0.0, 0.35, 1.0])
@pytest.mark.parametrize(("candidates", "limit"), [(1, 1), (2, 2), (4, 2), (4, 4)])
def test_probabilities_told_are_those_drawn(candidates: int, limit: int, exploration: float) -> None:
    ranking = [(3 * at + 1) % candidates for at in range(candidates)] if candidates % 3 else list(range(candidates))
    told: dict[tuple[int, ...], list[float]] = {}
    seen: Counter[tuple[int, ...]] = Counter()
    for seed in range(SEEDS):
        picks = pick(ranking, [True] * candidates, limit, Exploration(share=exploration), f"d-{seed}", "hero")
        slate = tuple(picked.at for picked in picks)
        seen[slate] += 1
        told[slate] = [picked.selection_probability for picked in picks]
    possible = {slate: oracle(slate, ranking, exploration) for slate in permutations(range(candidates), limit)}
    assert math.isclose(sum(math.prod(chances) for chances in possible.values()), 1.0)
    assert set(told) == {slate for slate, chances in possible.items() if math.prod(chances) > 0}
    for slate, chances in told.items():
        assert chances == pytest.approx(possible[slate], abs=1e-12)
        expected = math.prod(chances)
        spread = math.sqrt(max(expected * (1 - expected), 0.0) / SEEDS)
        assert abs(seen[slate] / SEEDS - expected) <= 5 * spread + 1e-12


def test_the_chances_of_what_may_stand_at_a_rank_sum_to_one() -> None:
    by_prefix: dict[tuple[int, ...], dict[int, float]] = {}
    for seed in range(SEEDS):
        picks = pick([2, 0, 3, 1], [True] * 4, 3, Exploration(share=0.6), f"d-{seed}", "hero")
        for rank, picked in enumerate(picks):
            above = tuple(each.at for each in picks[:rank])
            by_prefix.setdefault(above, {})[picked.at] = picked.selection_probability
    assert len(by_prefix) == 1 + 4 + 12
    for chances in by_prefix.values():
        assert sum(chances.values()) == pytest.approx(1.0, abs=1e-12)


def test_without_exploration_the_best_are_taken_for_certain() -> None:
    picks = pick([3, 1, 0, 2], [True] * 4, 3, Exploration(), "d-1", "hero")
    assert [picked.at for picked in picks] == [3, 1, 0]
    assert [picked.selection_probability for picked in picks] == [1.0, 1.0, 1.0]


def test_with_full_exploration_each_rank_is_uniform_over_what_is_left() -> None:
    picks = pick(range(5), [True] * 5, 5, Exploration(share=1.0), "d-1", "hero")
    assert [picked.selection_probability for picked in picks] == pytest.approx([1 / 5, 1 / 4, 1 / 3, 1 / 2, 1.0])


@settings(max_examples=60, deadline=None)
@given(
    ranking=st.integers(0, 8).flatmap(lambda size: st.permutations(range(size))),
    illegal=st.sets(st.integers(0, 7)),
    limit=st.integers(1, 10),
    exploration=st.floats(0, 1),
    seed=st.text(),
)
def test_a_slate_holds_only_legal_candidates_each_once_and_as_many_as_may_be(
    ranking: list[int], illegal: set[int], limit: int, exploration: float, seed: str
) -> None:
    legal = [at not in illegal for at in range(len(ranking))]
    picks = pick(ranking, legal, limit, Exploration(share=exploration), seed, "hero")
    shown = [picked.at for picked in picks]
    assert len(set(shown)) == len(shown) == min(limit, sum(legal))
    assert all(legal[at] for at in shown)
    assert all(0.0 < picked.selection_probability <= 1.0 for picked in picks)
    assert picks == pick(ranking, legal, limit, Exploration(share=exploration), seed, "hero")


def test_priorities_that_are_no_numbers_sink_and_equal_ones_keep_the_order_of_the_catalog() -> None:
    propensity = np.array([0.1, math.nan, 0.4, 0.1, math.inf])
    priority = prioritise(propensity, np.array([2.0, 9.0, 0.5, 2.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0, 1.0]))
    assert priority.tolist() == [0.2, -math.inf, 0.2, 0.2, -math.inf]
    assert order(priority) == [0, 2, 3, 1, 4]


def test_draws_are_uniform_and_depend_on_seed_and_place() -> None:
    draws = np.array([draw(f"d-{seed}", "hero", 0, "explore") for seed in range(5000)])
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 250).max() < 5 * math.sqrt(250)
    elsewhere = np.array([draw(f"d-{seed}", "hero", 0, "which") for seed in range(5000)])
    assert abs(np.corrcoef(draws, elsewhere)[0, 1]) < 0.07


def test_draws_never_move() -> None:
    """Logged decisions are replayed by these draws: a change here makes all of them unreadable."""
    assert draw("d-1", "hero", 0, "explore") == 0.011273579035635972
    assert draw("01a208b0-40e6-7e06-8898-e251958c25f5", "home-grid", 2, "which") == 0.06349162615203652


def constrained(size: int, labels: list[int], most: int, avoided: int) -> list[Constraint]:
    """At most so many of each label; and who stands first does not stand beside group `avoided` (of two)."""
    groups = np.array([at % 2 for at in range(size)])
    against = {avoided: np.array([at == 0 for at in range(size)])}
    return [Quota(np.array(labels[:size]), np.full(size, most), {}), Conflict(groups, against)]


def may_follow(at: int, above: tuple[int, ...], labels: list[int], most: int, avoided: int) -> bool:
    """The same said naively."""
    counted = sum(labels[one] == labels[at] for one in above) < most
    meets = (at == 0 and any(one % 2 == avoided for one in above)) or (0 in above and at % 2 == avoided)
    return at not in above and counted and not meets


@pytest.mark.parametrize("avoided", [0, 1])
@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("exploration", [0.0, 0.4, 1.0])
def test_probabilities_under_constraints_are_those_of_all_slates_enumerated(
    exploration: float, most: int, avoided: int
) -> None:
    labels, size, limit, pinned = [5, 5, 6, 6, 7], 5, 3, [3]
    ranking = [1, 4, 0, 2, 3]
    expected: dict[tuple[int, ...], tuple[float, ...]] = {}

    def enumerate_from(above: tuple[int, ...], chances: tuple[float, ...]) -> None:
        left = [at for at in ranking if may_follow(at, above, labels, most, avoided)]
        if len(above) == limit or not left:
            expected[above] = chances
            return
        for place, at in enumerate(left):
            chance = exploration / len(left) + (1 - exploration if place == 0 else 0.0)
            if chance > 0:
                enumerate_from((*above, at), (*chances, chance))

    enumerate_from((3,), (1.0,))
    found: Counter[tuple[int, ...]] = Counter()
    for seed in range(SEEDS):
        constraints = constrained(size, labels, most, avoided)
        picks = pick(
            ranking, [True] * size, limit, Exploration(share=exploration), f"s{seed}", "hero", pinned, constraints
        )
        slate = tuple(picked.at for picked in picks)
        found[slate] += 1
        assert [picked.selection_probability for picked in picks] == pytest.approx(expected[slate])
    assert sum(math.prod(chances) for chances in expected.values()) == pytest.approx(1.0)
    for slate, chances in expected.items():
        share, wanted = found[slate] / SEEDS, math.prod(chances)
        assert abs(share - wanted) < 4.5 * math.sqrt(wanted * (1 - wanted) / SEEDS) + 1e-12


@pytest.mark.parametrize(("share", "floor"), [(0.0, 0.0), (0.3, 0.0), (0.1, 0.15)])
def test_thompson_draws_have_exactly_the_chances_that_are_told(share: float, floor: float) -> None:
    draws = np.random.default_rng(4).random((8, 4))
    ranking, labels = [0, 1, 2, 3], [1, 1, 2, 3]
    told: dict[tuple[int, ...], dict[int, float]] = {}
    found: dict[tuple[int, ...], Counter[int]] = {}
    for seed in range(SEEDS):
        quota = Quota(np.array(labels), np.ones(4, int), {})
        exploration = Exploration(share=share, floor=floor, draws=draws)
        picks = pick(ranking, [True] * 4, 3, exploration, f"t{seed}", "hero", constraints=[quota])
        above: tuple[int, ...] = ()
        for picked in picks:
            left = [at for at in ranking if at not in above and labels[at] not in [labels[one] for one in above]]
            uniform = min(max(share, floor * len(left)), 1.0)
            best = [max((row[at], -at, at) for at in left)[2] for row in draws.tolist()]
            chance = uniform / len(left) + (1 - uniform) * best.count(picked.at) / len(draws)
            assert picked.selection_probability == pytest.approx(chance)
            assert chance >= min(floor, 1 / len(left)) - 1e-12
            told.setdefault(above, {})[picked.at] = chance
            found.setdefault(above, Counter())[picked.at] += 1
            above = (*above, picked.at)
    for above, counted in found.items():
        total = sum(counted.values())
        for at, chance in told[above].items():
            assert abs(counted[at] / total - chance) < 4.5 * math.sqrt(chance * (1 - chance) / total) + 1e-12


def sampled(seed: str, below: float = 100.0) -> np.ndarray:
    draws = sample(seed, "hero", PROPENSITY, EXPOSURES, below)
    assert draws is not None
    return draws


PROPENSITY, EXPOSURES = np.array([0.02, 0.3, 0.0, 0.1]), np.array([5.0, 20.0, 0.0, 5000.0])


def test_what_is_seldom_seen_is_drawn_widely_and_the_rest_stays() -> None:
    draws = sampled("d-1")
    assert draws.shape == (DRAWS, 4)
    assert (draws[:, 3] == 0.1).all()
    assert ((draws >= 0.0) & (draws <= 1.0)).all()
    assert np.array_equal(draws, sampled("d-1"))
    assert not np.array_equal(draws, sampled("d-2"))
    many = np.concatenate([sampled(f"m{number}") for number in range(300)])
    assert many.mean(axis=0) == pytest.approx(PROPENSITY, abs=0.01)
    spread = math.sqrt(0.3 * 0.7 / (STRENGTH + 20.0 + 1.0))
    assert many[:, 1].std() == pytest.approx(spread, rel=0.05)
    assert sample("d-1", "hero", PROPENSITY, EXPOSURES, below=0.0) is None
