"""Each gate holds where it should, and refuses with its figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from models.off_policy import Estimate, Rounds, Valuation, value
from training import gates
from training.baselines import Scored
from training.comparison import judge as compare
from training.evaluation import Reliability
from training.gates import Bounds, Evidence, Serving, Verdict
from training.labels import Queries, TrainingError
from training.skew.auditing import Audit, Line

if TYPE_CHECKING:
    from features.home import Home

CHAMPION = "champion, version 1"
SHARE = 0.2


def evidence(noise: float = 0.0, scale: float = 1.0, seed: int = 1, customers: int = 400) -> Evidence:
    """A model that knows each row's chance but for `noise`, beside a champion that knows less."""
    generator = np.random.default_rng(seed)
    count = 4000
    chance = generator.beta(1.0, 4.0, count)
    rewarded = generator.random(count) < chance
    texts = [""] * count
    queries = Queries(
        kind="logged", reward="click", customers=[f"c-{at % customers}" for at in range(count)], now=np.arange(count),
        customer_at=np.arange(count), candidate_at=np.arange(count), hour=np.zeros(count), weekday=np.zeros(count),
        device=texts, referrer=texts, placement=texts, inline={}, candidates=["p"], owner=np.arange(count),
        candidate=np.zeros(count, np.int64), rewarded=rewarded, popularity=np.full(count, np.nan),
    )  # fmt: skip

    def scored(name: str, blur: float) -> Scored:
        guess = np.clip((1 - blur) * chance + blur * generator.permutation(chance), 0.0, 1.0)
        return Scored(name=name, score=guess, probability=guess)

    model, champion = scored("model", noise), scored(CHAMPION, 0.5)
    model = msgspec.structs.replace(model, probability=np.clip(scale * model.score, 0.0, 1.0))
    compared = compare(queries, np.ones(count, np.bool_), model, [champion], 0)
    return Evidence(comparison=compared, champion=CHAMPION, same_meaning=True, serving=Serving(latency_ms=0.5))


def verdicts(found: Evidence, bounds: Bounds | None = None) -> dict[str, Verdict]:
    return {it.gate: it for it in gates.judge(found, bounds or Bounds())}


def test_a_better_calibrated_model_that_can_be_served_passes_every_gate() -> None:
    found = verdicts(evidence())
    assert [gate for gate, it in found.items() if it.holds is not True] == ["value of its decisions", "skew"]
    assert gates.holds(list(found.values()))
    assert gates.refusal(list(found.values())) == ""


@pytest.mark.parametrize("noise", [0.5, 0.9])
def test_a_model_that_is_no_better_than_the_champion_is_refused_with_the_difference(noise: float) -> None:
    verdict = verdicts(evidence(noise=noise))["better than the champion"]
    assert verdict.holds is False
    assert "log loss better by" in verdict.figure
    assert verdicts(evidence(noise=0.5), Bounds(better_by=-0.05))["better than the champion"].holds is True


def test_of_one_customer_alone_nothing_is_known_of_others() -> None:
    found = verdicts(evidence(customers=1))
    assert [gate for gate, it in found.items() if it.holds is False] == [
        "better than the champion", "knows something", "predicted over actual"
    ]  # fmt: skip
    assert "no interval" in found["knows something"].figure


def test_without_a_champion_nothing_is_compared_and_the_absolute_gates_remain() -> None:
    first = msgspec.structs.replace(evidence(), champion=None)
    assert verdicts(first)["better than the champion"].holds is None
    bad = verdicts(msgspec.structs.replace(evidence(scale=2.0), champion=None))
    assert bad["calibration"].holds is False
    assert bad["predicted over actual"].holds is False


def test_a_champion_of_another_reward_is_compared_by_how_it_ranks() -> None:
    other = msgspec.structs.replace(evidence(), same_meaning=False)
    assert verdicts(other)["better than the champion"].figure.startswith("AUC better by +")


def test_a_model_that_knows_nothing_is_refused() -> None:
    assert verdicts(evidence(noise=1.0))["knows something"].holds is False


def test_few_rows_are_allowed_the_error_that_chance_gives_them() -> None:
    predicted = np.full(20, 0.2)
    few, many = (gates.expect_error(Reliability(predicted, predicted, np.full(20, rows))) for rows in (10.0, 1000.0))
    assert few == pytest.approx(
        0.10 * 1.4, rel=0.2
    )  # a mean deviation of sqrt(2 x .2 x .8 / (pi x 10)), and its spread
    assert few / many == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize(
    ("serving", "gate"),
    [
        (Serving(latency_ms=2.5), "scoring latency"),
        (Serving(), "scoring latency"),
        (Serving(problem="features that cannot be filled: x", latency_ms=0.1), "signature"),
    ],
)
def test_a_model_that_is_slow_or_cannot_be_served_is_refused(serving: Serving, gate: str) -> None:
    found = verdicts(msgspec.structs.replace(evidence(), serving=serving))
    assert [name for name, it in found.items() if it.holds is False] == [gate]


def test_skew_names_the_feature() -> None:
    lines = [
        Line(name="customer__any__recency", compared=1000, mismatching=2, largest=3.0),
        Line(name="customer__any__first_seen", compared=1000, mismatching=1, largest=3.0),
    ]
    found = verdicts(msgspec.structs.replace(evidence(), audit=Audit(decisions=500, other_layouts=0, lines=lines)))
    assert found["skew"].holds is False
    assert "customer__any__recency 0.20%" in found["skew"].figure
    loose = verdicts(
        msgspec.structs.replace(evidence(), audit=Audit(decisions=500, other_layouts=0, lines=lines)), Bounds(skew=0.01)
    )
    assert loose["skew"].holds is True


def valuation(better: float) -> Valuation:
    estimates = {
        name: Estimate(value=at, error=0.01, low=at - 0.02, high=at + 0.02)
        for name, at in (("logged", SHARE), ("doubly_robust", SHARE * better))
    }
    generator = np.random.default_rng(3)
    plain = value(_rounds(generator))
    return msgspec.structs.replace(plain, **estimates)


def _rounds(generator: np.random.Generator) -> Rounds:
    from models import off_policy

    count = 500
    return off_policy.gather(
        reward=(generator.random(count) < SHARE).astype(float),
        logged=np.full(count, 0.5),
        target=np.full(count, 0.5),
    )


def test_the_value_of_its_decisions_must_not_be_far_below_what_was_earned() -> None:
    for better, holds in ((1.2, True), (0.95, True), (0.7, False)):
        found = verdicts(msgspec.structs.replace(evidence(), valuation=valuation(better)))
        assert found["value of its decisions"].holds is holds, better


def test_bounds_are_read_from_the_home_and_null_turns_a_gate_off(home: Home) -> None:
    assert gates.read_bounds(home) == Bounds()
    (home.root / "gates.yaml").write_text("{latency_ms: null, skew: 0.01}")
    bounds = gates.read_bounds(home)
    assert (bounds.latency_ms, bounds.skew, bounds.auc) == (None, 0.01, 0.5)
    slow = msgspec.structs.replace(evidence(), serving=Serving(latency_ms=math.inf))
    assert "scoring latency" not in verdicts(slow, bounds)


@pytest.mark.parametrize("text", ["{latncy_ms: 1}", "{skew: lots}", "["])
def test_bounds_that_say_something_else_are_refused(home: Home, text: str) -> None:
    (home.root / "gates.yaml").write_text(text)
    with pytest.raises(TrainingError, match=r"gates\.yaml"):
        gates.read_bounds(home)
