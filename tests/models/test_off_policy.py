"""Off-policy estimates in a world whose truth is known, against naive computations, and where support is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.off_policy import (
    Estimate,
    OffPolicyError,
    cumulate,
    direct,
    doubly_robust,
    expect,
    gather,
    inverse_probability,
    judge,
    self_normalised,
    value,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.off_policy import Rounds

    Floats = NDArray[np.float64]

CONTEXTS, ACTIONS = 4, 6
ESTIMATORS = {"IPS": inverse_probability, "SNIPS": self_normalised, "DM": direct, "DR": doubly_robust}
RUNS, ROUNDS = 400, 2000


class World(msgspec.Struct, frozen=True):
    """Contexts that are equally likely, a click rate for each (context, action), and two policies."""

    rates: Floats
    logging: Floats
    target: Floats

    @property
    def truth(self) -> float:
        return float((self.target * self.rates).sum(axis=1).mean())


def make_world(seed: int = 11) -> World:
    generator = np.random.default_rng(seed)
    rates = generator.uniform(0.02, 0.3, (CONTEXTS, ACTIONS))
    greedy = np.eye(ACTIONS)[rates.argmax(axis=1)]
    return World(rates, generator.dirichlet(np.full(ACTIONS, 3.0), CONTEXTS), 0.7 * greedy + 0.3 / ACTIONS)


def log_of(world: World, generator: np.random.Generator, size: int = ROUNDS, each: int = 1) -> Rounds:
    """`size` rounds; `each` neighbours are one customer's, who sees one context and clicks more or less than others."""
    customer = np.arange(size) // each
    context = generator.integers(CONTEXTS, size=size // each)[customer]
    action = (generator.random((size, 1)) > world.logging[context].cumsum(axis=1)).sum(axis=1).clip(max=ACTIONS - 1)
    mood = generator.uniform(0.2, 1.8, size // each)[customer] if each > 1 else 1.0
    reward = (generator.random(size) < world.rates[context, action] * mood).astype(float)
    model = expect(reward, context, action, world.target, customer)
    return gather(
        reward,
        world.logging[context, action],
        world.target[context, action],
        unit=customer,
        expected=model.expected,
        target_expected=model.target_expected,
    )


def cover(truth: float, estimates: list[Estimate]) -> float:
    return float(np.mean([it.low <= truth <= it.high for it in estimates]))


@pytest.mark.parametrize("each", [1, 5], ids=["of strangers", "of customers who come back"])
def test_95_percent_intervals_hold_the_truth_in_92_to_98_percent_of_logs(each: int) -> None:
    world, generator = make_world(), np.random.default_rng(5)
    logs = [log_of(world, generator, each=each) for _ in range(RUNS)]
    for name, estimator in ESTIMATORS.items():
        estimates = [estimator(log) for log in logs]
        covered = cover(world.truth, estimates)
        assert 0.92 <= covered <= 0.98, f"{name} covers {covered:.3f}"
        assert np.mean([it.value for it in estimates]) == pytest.approx(world.truth, rel=0.03), name
        spread, error = np.std([it.value for it in estimates]), np.mean([it.error for it in estimates])
        assert error == pytest.approx(spread, rel=0.15), name


def test_intervals_that_take_a_customers_rounds_for_independent_are_too_narrow() -> None:
    world, generator = make_world(), np.random.default_rng(6)
    logs = [log_of(world, generator, each=20) for _ in range(RUNS)]
    apart = [msgspec.structs.replace(log, unit=np.arange(ROUNDS)) for log in logs]
    assert cover(world.truth, [self_normalised(log) for log in apart]) < 0.92
    assert cover(world.truth, [self_normalised(log) for log in logs]) >= 0.92


def test_a_model_narrows_the_interval() -> None:
    world, generator = make_world(), np.random.default_rng(7)
    log = log_of(world, generator, 20_000)
    assert doubly_robust(log).error < inverse_probability(log).error


def test_dr_is_right_with_a_wrong_model_and_with_wrong_chances() -> None:
    world, generator = make_world(), np.random.default_rng(8)
    log = log_of(world, generator, 200_000)
    nonsense = msgspec.structs.replace(log, expected=np.full(len(log.reward), 0.9))
    nonsense = msgspec.structs.replace(nonsense, target_expected=np.full(len(log.reward), 0.9))
    assert direct(nonsense).value == pytest.approx(0.9)
    assert doubly_robust(nonsense).value == pytest.approx(world.truth, abs=3 * doubly_robust(nonsense).error)
    misjudged = msgspec.structs.replace(log, weight=log.weight * np.random.default_rng(1).uniform(0.2, 2.5, 200_000))
    assert doubly_robust(misjudged).value == pytest.approx(world.truth, rel=0.05)
    assert inverse_probability(misjudged).value > world.truth * 1.2


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0.05, 1), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=40)
)
def test_estimators_are_what_their_formulas_say(rows: list[tuple[float, float, float, float]]) -> None:
    reward, logged, target, expected = np.array(rows).T
    rounds = gather(reward, logged, target, expected=expected, target_expected=expected / 2.0)
    weights = [t / p for _, p, t, _ in rows]
    rewards = [row[0] for row in rows]
    size = len(rows)
    assert inverse_probability(rounds).value == pytest.approx(
        sum(w * r for w, r in zip(weights, rewards, strict=True)) / size
    )
    if sum(weights) > 0.0:
        share = sum(w * r for w, r in zip(weights, rewards, strict=True)) / sum(weights)
        assert self_normalised(rounds).value == pytest.approx(share)
        assert min(rewards) - 1e-9 <= share <= max(rewards) + 1e-9
    robust = sum(row[3] / 2.0 + w * (row[0] - row[3]) for w, row in zip(weights, rows, strict=True)) / size
    assert doubly_robust(rounds).value == pytest.approx(robust)
    assert direct(rounds).value == pytest.approx(sum(row[3] / 2.0 for row in rows) / size)


def test_a_policy_valued_by_its_own_log_is_the_mean_reward() -> None:
    world, generator = make_world(), np.random.default_rng(9)
    log = log_of(msgspec.structs.replace(world, target=world.logging), generator)
    for estimate in (inverse_probability(log), self_normalised(log)):
        assert estimate.value == pytest.approx(log.reward.mean())
        assert estimate.error == pytest.approx(log.reward.std(ddof=1) / np.sqrt(ROUNDS))
    support = judge(log)
    assert support.effective == pytest.approx(ROUNDS)
    assert support.verdict == "supported"


def pick_slates(
    generator: np.random.Generator, count: int, share: float, best: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """(slates, 3) picks of ACTIONS without repetition, each the best left unless explored; their chances."""
    picks, chances = np.empty((count, 3), np.int64), np.empty((count, 3))
    for at in range(count):
        left = list(np.argsort(-best))
        for rank in range(3):
            chosen = left[int(generator.integers(len(left)))] if generator.random() < share else left[0]
            chances[at, rank] = share / len(left) + (1.0 - share) * (chosen == left[0])
            picks[at, rank] = chosen
            left.remove(chosen)
    return picks, chances


def test_slates_are_valued_by_the_chances_of_their_picks_given_those_above() -> None:
    generator = np.random.default_rng(10)
    rates = np.array([0.3, 0.1, 0.25, 0.05, 0.2, 0.15])
    fading = np.array([1.0, 0.6, 0.4])
    rivals = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    picks, chances = pick_slates(generator, 8_000, 0.6, rivals)
    # A second look at the best category tires: what stands above decides what a pick is worth.
    tired = np.array([[1.0, 0.5 if {0, 2} <= {int(a), int(b)} else 1.0, 1.0] for a, b, _ in picks])
    reward = (generator.random(picks.shape) < rates[picks] * fading * tired).astype(float)
    target = np.empty_like(chances)
    order = np.argsort(-rates).tolist()
    for at, slate in enumerate(picks.tolist()):
        left = list(order)
        for rank, chosen in enumerate(slate):
            target[at, rank] = 0.2 / len(left) + 0.8 * (chosen == left[0])
            left.remove(chosen)
    numbers = np.repeat(np.arange(len(picks)), 3)
    rounds = gather(reward.ravel(), chances.ravel(), target.ravel(), numbers)
    theirs, _ = pick_slates(np.random.default_rng(12), 12_000, 0.2, rates)
    tired = np.array([[1.0, 0.5 if {0, 2} <= {int(a), int(b)} else 1.0, 1.0] for a, b, _ in theirs])
    truth = float((rates[theirs] * fading * tired).sum(axis=1).mean())
    for estimator in (inverse_probability, self_normalised):
        estimate = estimator(rounds)
        assert estimate.value == pytest.approx(truth, abs=3 * estimate.error)
    last = rounds.weight.reshape(-1, 3)[:, 2]
    assert last == pytest.approx(np.prod(target / chances, axis=1))


def test_a_weight_is_the_product_down_to_its_rank() -> None:
    weight, above = cumulate(np.array([2.0, 3.0, 0.5, 4.0]), np.array([0, 0, 0, 1]))
    assert weight.tolist() == [2.0, 6.0, 3.0, 4.0]
    assert above.tolist() == [1.0, 2.0, 6.0, 1.0]


def test_no_round_is_expected_from_itself() -> None:
    """A model that had seen its own rows would know rewards that are pure chance."""
    generator = np.random.default_rng(13)
    reward = (generator.random(5000) < 0.5).astype(float)
    context, action = np.arange(5000) // 10, np.zeros(5000, np.int64)
    expected = expect(reward, context, action, np.ones((500, 1)), np.arange(5000)).expected
    assert np.corrcoef(expected, reward)[0, 1] <= 0.03


def test_thin_support_is_named_and_not_trusted() -> None:
    generator = np.random.default_rng(14)
    reward = (generator.random(5000) < 0.1).astype(float)
    rare = np.where(generator.random(5000) < 0.004, 0.004, 0.996)
    thin = value(gather(reward, rare, np.where(rare < 0.5, 0.9, 0.1)))
    assert not thin.is_trusted
    assert any("effective sample" in reason for reason in thin.support.reasons)
    hidden = value(gather(reward, np.full(5000, 0.5), np.full(5000, 0.5), uncovered=0.2))
    assert not hidden.is_trusted
    assert "20.0%" in hidden.support.reasons[0]
    missing = value(gather(reward, np.full(5000, 0.5), np.full(5000, 0.3)))
    assert not missing.is_trusted
    assert "mean weight is 0.60" in missing.support.reasons[0]
    nobody = value(gather(np.zeros(5000), np.full(5000, 0.5), np.full(5000, 0.5)))
    assert not nobody.is_trusted


def test_a_target_that_does_nothing_of_the_log_has_no_value() -> None:
    nothing = value(gather(np.ones(50), np.full(50, 0.5), np.zeros(50)))
    assert np.isnan(nothing.self_normalised.value)
    assert not nothing.is_trusted
    assert nothing.support.effective == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logged": np.array([0.5, 0.0])}, "1 of 2 logged probabilities"),
        ({"logged": np.array([0.5, 1.2])}, "1 of 2 logged probabilities"),
        ({"logged": np.array([0.5, np.nan])}, "1 of 2 values of logged are not numbers"),
        ({"target": np.array([0.5, -0.1])}, "probabilities of the target"),
        ({"reward": np.array([])}, "nothing in the log"),
        ({"target": np.array([0.5])}, "1 values of target for 2 rewards"),
        ({"slate": np.array([1, 0])}, "stand together"),
    ],
)
def test_what_is_no_log_is_refused(change: dict[str, Floats], message: str) -> None:
    given = {"reward": np.array([0.0, 1.0]), "logged": np.array([0.5, 0.5]), "target": np.array([0.5, 0.5])}
    with pytest.raises(OffPolicyError, match=message):
        gather(**(given | change))  # type: ignore[arg-type]  # arrays of both kinds
