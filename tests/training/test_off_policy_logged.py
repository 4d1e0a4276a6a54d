"""A model valued from Kairos' own log: what may have been picked, how likely, and what is left out."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np
import pytest

import kairos
from features import history
from features.events.schema import Attention, CatalogPublished, Decision, Served, Slot
from features.ids import digest
from models import bundle
from models.bundle import Calibration, Description
from models.off_policy import OffPolicyError, value
from models.signature import Feature, Signature
from tests.training.archives import CATALOG, CATEGORIES, PRODUCTS, LiveShop, product, publish, track, write
from training.off_policy import valuing
from training.off_policy.pools import read_catalogs, reconstruct
from training.off_policy.valuing import find, value_of

if TYPE_CHECKING:
    from features.home import Home
    from training.labels import Floats

OFFERS = PRODUCTS[:6]
EXPLORATION = 0.1
LIKED, OTHERS = 0.6, 0.05
LAST = "customer__product_viewed_category__last"


def document(**placement: Any) -> bytes:
    hero = {"id": "hero", "default": OFFERS[0], "exploration": EXPLORATION, "candidates": OFFERS} | placement
    grid = {"id": "grid", "default": OFFERS[0], "limit": 2}
    candidates = [{"id": it["id"], "category": it["category"]} for it in CATALOG]
    experiments = [{"id": "who", "placements": ["hero"], "variants": [{"id": "few", "candidates": OFFERS[:3]}]}]
    said = {"placements": [hero, grid], "candidates": candidates, "experiments": experiments}
    return zlib.compress(msgspec.json.encode(said))


def serve(shop: LiveShop, customer: str, place: int, chance: float, exploration: float = 1.0, **change: Any) -> str:
    """A decision that showed one offer in the hero, and saw it."""
    name = shop.decide(customer, {"hero": [place]}, [])
    decision = shop.events[-1]
    assert isinstance(decision, Decision)
    item = Served(id=PRODUCTS[place], rank=1, priority=0.1, value=1.0, selection_probability=chance)
    slot = Slot(id="hero", limit=1, items=[item], exploration=exploration, rung="model")
    shop.events[-1] = msgspec.structs.replace(decision, placements=[slot], **change)
    signal(shop, "Promotion Viewed", customer, name, place)
    return name


def signal(shop: LiveShop, event: str, customer: str, decision: str, place: int) -> None:
    properties = {"decision_id": decision, "placement": "hero", "promotion_id": PRODUCTS[place]}
    shop.happen(track(customer, shop.tick(0.2), event, properties))


def begin(**placement: Any) -> LiveShop:
    shop = LiveShop()
    shop.events[0] = msgspec.structs.replace(publish(shop.events[0].received), document=document(**placement))
    assert isinstance(shop.events[0], CatalogPublished)
    return shop


def close(home: Home, shop: LiveShop) -> None:
    """Enough time for every window to close, and the archive."""
    shop.happen(track("c-0", shop.tick(3 * 3600), "Product Viewed", product(0)))
    write(home, shop.events, partition=0)


@pytest.fixture(scope="module")
def shop_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """900 visits of customers who like the category of what they viewed last, served uniformly."""
    from features.home import Home

    home = Home(tmp_path_factory.mktemp("shop"))
    shop, generator = begin(), np.random.default_rng(4)
    for number in range(900):
        customer, taste = f"c-{number % 150}", int(generator.integers(3))
        shop.happen(track(customer, shop.tick(1.0), "Product Viewed", product(3 * int(generator.integers(9)) + taste)))
        if number % 10 == 0:
            shop.take_snapshot()
        place = int(generator.integers(len(OFFERS)))
        name = serve(shop, customer, place, 1.0 / len(OFFERS))
        if generator.random() < (LIKED if place % 3 == taste else OTHERS):
            signal(shop, "Promotion Clicked", customer, name, place)
    close(home, shop)
    history.rebuild(home)
    return home


def knowing(features: dict[str, Floats]) -> Floats:
    """Who knows the rule of that world."""
    return np.where(features["candidate__category"] == features[LAST], LIKED, OTHERS)


def ignorant(features: dict[str, Floats]) -> Floats:
    return np.where(features["candidate__category"] == digest(CATEGORIES[0]), 0.3, 0.1)


def test_a_models_value_is_within_its_interval_though_it_never_served(shop_home: Home) -> None:
    average = (LIKED + 2 * OTHERS) / 3
    truth = (1 - EXPLORATION) * LIKED + EXPLORATION * average
    valued = value_of(shop_home, knowing)
    assert valued.doubly_robust is not None
    assert valued.doubly_robust.low < truth < valued.doubly_robust.high
    assert valued.doubly_robust.error < valued.inverse_probability.error
    assert valued.doubly_robust.low > valued.logged.high
    assert valued.support.verdict == "thin"
    assert valued.support.units == 150
    guessed = value_of(shop_home, ignorant)
    assert guessed.doubly_robust is not None
    assert guessed.doubly_robust.low < average < guessed.doubly_robust.high


def test_only_decisions_between_two_instants_and_at_most_so_many_are_valued(shop_home: Home) -> None:
    found = find(shop_home).slots
    assert len(found) == 900
    middle = found[450].decision.time
    assert len(find(shop_home, since=middle).slots) == 450
    assert len(find(shop_home, until=middle).slots) == 451
    assert len(find(shop_home, most=100).slots) == 100
    with pytest.raises(OffPolicyError, match="no logged decision that was seen can be valued"):
        value_of(shop_home, knowing, placements=("grid",))


def test_weights_are_the_chances_of_both_policies(shop_home: Home) -> None:
    slots = find(shop_home).slots[:3]
    propensity = np.tile(np.arange(6.0), 3) / 6.0
    rounds = valuing.weigh(slots, propensity)
    for at, it in enumerate(slots):
        chance = EXPLORATION / 6 + (0.9 if it.slot.items[0].id == OFFERS[5] else 0.0)
        assert rounds.weight[at] == pytest.approx(chance * 6)
    assert rounds.target_expected is not None
    assert rounds.uncovered == 0.0


@pytest.mark.parametrize(
    ("placement", "change", "chance", "exploration", "reason"),
    [
        ({}, {"catalog_version": "0"}, 1 / 6, 1.0, "its catalog is not in the archive"),
        ({}, {"readable": False}, 1 / 6, 1.0, "could not be read"),
        ({}, {"supplied": [{"id": "x"}]}, 1 / 6, 1.0, "came with the request"),
        ({}, {"attention": Attention(contended=True)}, 1 / 6, 1.0, "ledger"),
        ({}, {"variants": {"who": "few"}}, 1 / 3, 1.0, "a variant changed who competes"),
        ({}, {}, None, 1.0, "forced"),
        ({}, {}, 1 / 7, 1.0, "chances do not fit"),
        ({}, {}, 0.5, 0.1, "chances do not fit"),
        ({"pinned": [OFFERS[3]]}, {}, 1 / 6, 1.0, "no model chooses there"),
        ({"strategy": "fixed"}, {}, 1 / 6, 1.0, "no model chooses there"),
        ({"shortlist": 4}, {}, 1 / 6, 1.0, "shortlisted"),
        ({"candidates": OFFERS[:2]}, {}, 1 / 6, 1.0, "not in the pool"),
    ],
)
def test_a_slot_that_cannot_be_told_exactly_is_left_out_with_its_reason(
    home: Home, placement: dict[str, Any], change: dict[str, Any], chance: float, exploration: float, reason: str
) -> None:
    shop = begin(**placement)
    shop.happen(track("c-1", shop.tick(1.0), "Product Viewed", product(3)))
    shop.take_snapshot()
    serve(shop, "c-1", 5, chance, exploration, **change)
    close(home, shop)
    found = find(home)
    assert found.slots == []
    assert len(found.left_out) == 1
    assert reason in next(iter(found.left_out))
    with pytest.raises(OffPolicyError, match=r"can be valued \(1 slots: "):
        value_of(home, knowing)


def test_a_pool_is_what_competed_without_what_was_rejected_or_stood_above(home: Home) -> None:
    shop = begin(candidates=None, excluded=[PRODUCTS[29]], exploration=0.0)
    shop.take_snapshot()
    serve(shop, "c-1", 5, 1.0, 0.0)
    close(home, shop)
    decision = next(event for event in shop.events if isinstance(event, Decision))
    slot = msgspec.structs.replace(decision.placements[0], rejected={"rule": [PRODUCTS[1]], "bought": [PRODUCTS[2]]})
    pool = reconstruct(read_catalogs(home), decision, slot, {PRODUCTS[3]})
    assert not isinstance(pool, str)
    assert pool.candidates == [PRODUCTS[0], *PRODUCTS[4:29]]
    assert pool.worth == [1.0] * 26


def test_a_log_without_exploration_cannot_value_another_policy(home: Home) -> None:
    shop = begin(exploration=0.0)
    for number in range(300):
        if number % 50 == 0:
            shop.happen(track("c-1", shop.tick(1.0), "Product Viewed", product(3)))
            shop.take_snapshot()
        serve(shop, f"c-{number}", 5, 1.0, 0.0)
    close(home, shop)
    slots = find(home).slots
    assert len(slots) == 300
    valued = value(valuing.weigh(slots, np.tile(np.arange(6.0)[::-1], 300)))
    assert not valued.is_trusted
    assert valued.support.uncovered == 1.0


def test_the_command_values_a_model_or_says_that_there_is_none(
    shop_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["off-policy", "--model", "challenger", "--home", str(shop_home.root)]
    with pytest.raises(OffPolicyError, match="there is no model offers/challenger"):
        kairos.build(words)(words)
    save_model(shop_home)
    with pytest.raises(SystemExit) as ended:
        kairos.build(words)(words)
    told = capsys.readouterr().out
    assert ended.value.code == 0, told
    assert "offers/3 in 900 logged slots, by their first pick" in told
    assert "clicks a slot" in told


def save_model(home: Home) -> None:
    """A version of one tree, that likes what is dear."""
    generator = np.random.default_rng(1)
    prices = generator.uniform(0, 20, (500, 1))
    parameters = {"objective": "binary", "num_leaves": 8, "verbosity": -1, "num_threads": 1}
    table = lightgbm.Dataset(prices, (prices[:, 0] > 8.0).astype(float), feature_name=["candidate__price"])
    model = lightgbm.train(parameters, table, 5).model_to_string()
    description = Description(
        name="offers",
        version="3",
        reward="click",
        labels="logged",
        signature=Signature((Feature("candidate__price"),)),
        calibration=Calibration((-5.0, 5.0), (0.0, 1.0)),
    )
    bundle.save(home.bundles / "offers" / "3", description, model)
    bundle.write_alias(home.bundles, "offers", "challenger", "3")
