"""What a reward brings: learnt in a world of known values, judged beside simple answers, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import history
from features.events.schema import CatalogPublished
from features.ids import digest
from features.store import open_store
from models.signature import Feature, Signature
from tests.training.archives import DAY, PRODUCTS, START, LiveShop, product, publish, track, write
from training import appraisal, bootstrap, fit, gates, logged
from training.appraisal import MEAN, OWN_MEAN, PRICE, Appraised, deviances
from training.dataset import Source
from training.evidence import Bounds
from training.labels import Queries, TrainingError
from training.metrics import RATIO
from training.parts import Part
from training.values import Valued, known

if TYPE_CHECKING:
    from features.events.schema import Event, Track
    from features.home import Home

SIGNATURE = Signature((Feature("candidate__price"), Feature("loyalty"), Feature("noise")))
SMALL = fit.Options(trees=120, learning_rate=0.1)
CANDIDATES = 20


def world(seed: int, rows: int = 6000, bought: float = 0.6) -> tuple[Part, np.ndarray, np.ndarray]:
    """Rewards that bring something with a chance of `bought`: more for loyal customers and dear candidates.

    (rows, the truth, the candidate of each)
    """
    chance = np.random.default_rng(seed)
    candidate = chance.integers(0, CANDIDATES, rows)
    price = 5.0 + 3.0 * candidate
    loyalty, noise = chance.normal(size=(2, rows))
    truth = bought * price * np.exp(0.7 * loyalty)
    amount = np.where(chance.random(rows) < bought, truth / bought * chance.gamma(4.0, 0.25, rows), 0.0)
    rewarded = chance.random(rows) < 1.0 / (1.0 + np.exp(1.0 - loyalty))
    part = Part(
        matrix=np.column_stack([price, loyalty, noise]).astype(np.float32),
        rewarded=rewarded,
        owner=np.arange(rows) // 10,
        extra={},
        amount=np.where(rewarded, amount, 0.0),
    )
    return part, truth, candidate


def ask(part: Part, candidate: np.ndarray) -> Queries:
    """The part's rows as queries of a customer each."""
    count = int(part.owner.max()) + 1
    empty = np.zeros(count, np.int64)
    return Queries(
        kind="logged", reward="click", customers=[f"c-{at % 200}" for at in range(count)], now=empty,
        customer_at=empty, candidate_at=empty, hour=empty.astype(float), weekday=empty.astype(float),
        device=[""] * count, referrer=[""] * count, placement=["hero"] * count, inline={},
        candidates=[f"p-{at}" for at in range(CANDIDATES)], owner=part.owner, candidate=candidate,
        rewarded=part.rewarded, popularity=np.zeros(len(candidate)), amount=part.amount,
    )  # fmt: skip


def learn(train: Part, options: fit.Options = SMALL) -> Valued:
    found = fit.fit(train, world(2)[0], SIGNATURE, options, 1.0).value
    assert found is not None
    return found


def judge(valued: Valued) -> Appraised:
    (train, _, learnt), (test, _, asked) = world(1), world(3)
    names = SIGNATURE.names
    level = appraisal.learn(ask(train, learnt), train, names)
    assert level is not None
    return appraisal.appraise(ask(test, asked), test, names, valued.of(test.matrix), level, seed=0)


def test_values_are_near_the_truth_and_right_in_sum() -> None:
    valued = learn(world(1)[0])
    test, truth, _ = world(3)
    told = valued.of(test.matrix)
    assert np.corrcoef(np.log(told), np.log(truth))[0, 1] > 0.9
    assert np.abs(told - truth).sum() < 0.35 * truth.sum()
    appraised = judge(valued)
    ratio = appraised.model.metrics[RATIO]
    assert ratio.low < 1.0 < ratio.high
    assert {it.name for it in appraised.baselines} == {MEAN, OWN_MEAN, PRICE}
    for baseline in appraised.baselines:
        assert appraised.difference(baseline).high < 0.0, baseline.name


def test_the_same_seed_gives_the_same_values() -> None:
    train = world(1)[0]
    assert len({learn(train).booster.model_to_string() for _ in range(2)}) == 1


def test_only_rewards_of_which_the_amount_is_known_are_learnt_from() -> None:
    train = world(1)[0]
    assert train.amount is not None
    amount = np.where(np.arange(len(train.rewarded)) % 2, train.amount, np.nan)
    halved = msgspec.structs.replace(train, amount=amount)
    assert learn(halved).rewards == int(train.rewarded[1::2].sum())
    assert not known(msgspec.structs.replace(train, amount=None)).any()


@pytest.mark.parametrize(
    ("amount", "problem"),
    [(0.0, "0 of them above zero"), (float("nan"), r"^0 training rewards of which the revenue is known")],
)
def test_rewards_that_bring_nothing_teach_no_values(amount: float, problem: str) -> None:
    train = world(1)[0]
    with pytest.raises(TrainingError, match=problem):
        learn(msgspec.structs.replace(train, amount=np.full(len(train.rewarded), amount)))


@given(st.floats(0.01, 1e4), st.floats(0.0, 1e4))
def test_a_deviance_is_least_where_the_prediction_is_right(predicted: float, actual: float) -> None:
    told, right = (float(deviances(np.array([it]), np.array([actual]))[0]) for it in (predicted, max(actual, 1e-6)))
    assert told >= right - 1e-6 * max(1.0, actual)
    assert right == pytest.approx(0.0, abs=1e-2)


def test_the_gate_refuses_values_that_are_wrong_in_sum_or_worse_than_one_for_all() -> None:
    valued = learn(world(1)[0])
    good = judge(valued)
    doubled = judge(msgspec.structs.replace(valued, appraisal=msgspec.structs.replace(valued.appraisal, scale=2.0)))
    shuffled = msgspec.structs.replace(good, model=next(it for it in good.baselines if it.name == PRICE))
    swapped = [it if it.name != MEAN else msgspec.structs.replace(good.model, name=MEAN) for it in good.baselines]
    worse = msgspec.structs.replace(shuffled, baselines=swapped)
    for appraised, holds in ((good, True), (doubled, False), (worse, False)):
        verdict = gates.judge_values(appraised, Bounds())
        assert verdict is not None
        assert verdict.holds is holds, verdict.figure
    assert gates.judge_values(good, Bounds(value_ratio=None)) is None
    assert gates.judge_values(None, Bounds()) is None


@pytest.fixture
def shop() -> LiveShop:
    shop = LiveShop()
    shop.happen(track("c-1", shop.tick(1.0), "Product Viewed", product(3)))
    shop.take_snapshot()
    return shop


def signal(shop: LiveShop, event: str, decision: str, place: int) -> None:
    properties = {"decision_id": decision, "placement": "hero", "promotion_id": PRODUCTS[place]}
    shop.happen(track("c-1", shop.tick(0.2), event, properties))


def test_a_click_is_paid_by_the_orders_it_led_to_and_not_known_while_they_may_come(home: Home, shop: LiveShop) -> None:
    for place, revenue in ((1, 30.0), (1, 0.0), (2, 0.0)):
        decision = shop.decide("c-1", {"hero": [place]}, [])
        for event in ("Promotion Viewed", "Promotion Clicked"):
            signal(shop, event, decision, place)
        if revenue:
            bought = {"order_id": "o-1", "revenue": revenue, "products": [product(1)]}
            shop.happen(track("c-1", shop.tick(60.0), "Order Completed", bought))
        shop.happen(track("nobody", shop.tick(60.0 if place == 2 else 8 * 86_400.0), "Visit Ended", {}))
    write(home, shop.events, partition=0)
    queries = logged.label(home, with_amounts=True)
    assert queries.rewarded.tolist() == [True, True, True]
    assert queries.amount is not None
    assert queries.amount[:2].tolist() == [30.0, 0.0]
    assert np.isnan(queries.amount[2])
    assert logged.label(home).amount is None


def test_orders_say_what_each_line_was_paid(home: Home) -> None:
    lines = [product(1) | {"quantity": 3}, product(2), {"product_id": PRODUCTS[4]}]
    events: list[Track] = [
        track("c-1", START + day * DAY, "Order Completed", {"products": lines[: 2 + day % 2]}) for day in range(6)
    ]
    write(home, [*events, publish(START + 6 * DAY)])
    rewards = bootstrap.read_rewards(home, "Order Completed")
    queries = bootstrap.label(home, "Order Completed", rewards, bootstrap.Options(), with_amounts=True)
    assert queries.amount is not None
    paid: dict[str, set[str]] = {}
    for at in np.flatnonzero(queries.rewarded).tolist():
        paid.setdefault(queries.candidates[queries.candidate[at]], set()).add(str(queries.amount[at]))
    assert paid == {PRODUCTS[1]: {"18.0"}, PRODUCTS[2]: {"7.0"}, PRODUCTS[4]: {"nan"}}
    assert (queries.amount[~queries.rewarded] == 0.0).all()


def test_a_candidate_whose_value_is_not_said_has_in_training_the_one_that_serves(home: Home) -> None:
    orders: list[Event] = [
        track("c-1", START + day * DAY, "Order Completed", {"products": [product(1), product(2)]}) for day in range(6)
    ]
    said = [{"id": PRODUCTS[1]}, {"id": PRODUCTS[2], "value": "candidate.price * 0.2"}]
    at = START + 6 * DAY
    catalog = CatalogPublished(message_id="c", customer="", time=at, received=at, version="1", candidates=said)
    write(home, [*orders, catalog])
    history.rebuild(home)
    rewards = bootstrap.read_rewards(home, "Order Completed")
    queries = bootstrap.label(home, "Order Completed", rewards, bootstrap.Options())
    (chunk,) = Source(home, open_store(home, "redis://127.0.0.1:6379")).read(queries)
    rows = [queries.candidates[place] for place in queries.candidate]
    values = dict(zip(rows, chunk.features["candidate__value"].tolist(), strict=True))
    assert values == {PRODUCTS[1]: 1.0, PRODUCTS[2]: 0.0}
    assert set(chunk.features["candidate__kind"]) == {float(digest("offer"))}
