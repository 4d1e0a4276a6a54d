"""`kairos models health`: what has drifted is named, what chance does is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np
import pytest

import kairos
from features.events.schema import Decision, Served, Slot
from models import bundle
from models.bundle import BundleError, Calibration, Description
from models.signature import Feature, Signature
from tests.training.archives import DAY, PRODUCTS, LiveShop, product, track, write
from tests.training.test_intervals import make_queries
from training.health import examining, log
from training.health.examining import compare, judge
from training.labels import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from features.home import Home

    Floats = NDArray[np.float64]

ORDERED = "customer__order_completed__recency"
FEATURES = (
    Feature("candidate__price"),
    Feature(ORDERED),
    Feature("context__device", "category", ("desktop", "mobile")),
)


def draw(seed: int, size: int = 4000, mean: float = 0.0) -> Floats:
    return np.random.default_rng(seed).normal(mean, 1.0, size)


def test_the_index_is_the_sum_over_bins() -> None:
    before, now = np.repeat([0.0, 1.0], [600, 400]), np.repeat([0.0, 1.0], [300, 700])
    p, q = np.array([600.5, 400.5]) / 1001.0, np.array([300.5, 700.5]) / 1001.0
    for is_category in (False, True):
        found = compare("x", before, now, (1000, 1000), is_category=is_category)
        assert found.index == pytest.approx(float(((q - p) * np.log(q / p)).sum()))


def test_a_shift_is_seen_and_its_size_told() -> None:
    states = [compare("x", draw(1), draw(2, mean=mean), (4000, 4000)).state for mean in (0.0, 0.4, 1.0)]
    assert states == ["ok", "watch", "act"]


def test_chance_makes_no_drift_however_few_customers_there_are() -> None:
    for size in (60, 400, 4000):
        states = [compare("x", draw(seed, size), draw(seed + 1000, size), (size, size)).state for seed in range(120)]
        assert states.count("ok") >= 119, size


def test_few_customers_with_many_rows_are_few() -> None:
    before, now = np.repeat(draw(3, 20), 200), np.repeat(draw(4, 20), 200)
    assert compare("x", before, now, (20, 20)).state == "ok"
    assert compare("x", before, now, (4000, 4000)).state == "act"


def test_what_goes_missing_is_a_drift() -> None:
    now = draw(6)
    now[:2000] = np.nan
    found = compare("x", draw(5), now, (4000, 4000))
    assert (found.missing_before, found.missing_now) == (0.0, 0.5)
    assert found.state == "act"
    nothing = np.full(4000, np.nan)
    assert compare("x", nothing, nothing, (4000, 4000)).state == "ok"
    assert compare("x", nothing, now, (4000, 4000)).state == "act"


def test_counts_that_are_mostly_zero_and_new_categories_are_binned() -> None:
    generator = np.random.default_rng(7)
    zeros = generator.poisson(0.1, 4000).astype(float)
    assert compare("x", zeros, generator.poisson(0.1, 4000).astype(float), (4000, 4000)).state == "ok"
    assert compare("x", zeros, generator.poisson(1.0, 4000).astype(float), (4000, 4000)).state == "act"
    known = generator.integers(0, 3, 4000).astype(float)
    grown = np.where(generator.random(4000) < 0.5, 7.0, known)
    assert compare("x", known, grown, (4000, 4000), is_category=True).state == "act"


def test_calibration_is_judged_by_its_interval() -> None:
    generator = np.random.default_rng(8)
    truth = generator.uniform(0.02, 0.2, 6000)
    rewarded = generator.random(6000) < truth
    customers = [f"c-{at % 1500}" for at in range(6000)]
    assert judge("m/1", customers, truth, rewarded).state == "ok"
    assert judge("m/1", customers, truth * 1.6, rewarded).state == "act"
    assert judge("m/1", customers, truth * 1.6, rewarded, comparable=False).ratio is None
    assert judge("m/1", customers[:200], truth[:200] * 1.6, rewarded[:200]).state == "ok"
    nobody = judge("m/1", customers[:50], truth[:50], np.zeros(50, np.bool_))
    assert nobody.ratio is None
    assert nobody.rate.value == 0.0


def save_model(home: Home) -> None:
    generator = np.random.default_rng(1)
    rows = np.column_stack(
        [generator.uniform(0, 40, 800), generator.uniform(0, 1e6, 800), generator.integers(0, 2, 800)]
    )
    parameters = {"objective": "binary", "num_leaves": 8, "verbosity": -1, "num_threads": 1}
    table = lightgbm.Dataset(
        rows, (rows[:, 0] + 20 * rows[:, 2] > 30.0).astype(float), feature_name=[it.name for it in FEATURES]
    )
    model = lightgbm.train(parameters, table, 5).model_to_string()
    description = Description(
        name="offers",
        version="3",
        reward="click",
        labels="logged",
        signature=Signature(FEATURES),
        calibration=Calibration((-5.0, 5.0), (0.0, 1.0)),
    )
    bundle.save(home.bundles / "offers" / "3", description, model)
    bundle.write_alias(home.bundles, "offers", "champion", "3")


def live(home: Home, drifted: bool, customers: int = 400) -> None:
    """Two weeks of visits, a customer each; in the second week, if it drifted, all are new ones at a desk."""
    shop, generator = LiveShop(), np.random.default_rng(9)
    for number in range(customers):
        customer, late = f"c-{number}", number >= customers // 2
        shop.tick(14 * DAY / 1e6 / customers)
        if not (drifted and late):
            shop.happen(track(customer, shop.tick(0.1), "Order Completed", {"products": [product(2)]}))
        if number % 20 == 0:
            shop.take_snapshot()
        place = int(generator.integers(len(PRODUCTS)))
        decision = shop.decide(customer, {"hero": [place]}, [])
        logged = shop.events[-1]
        assert isinstance(logged, Decision)
        item = Served(id=PRODUCTS[place], rank=1, priority=0.3, propensity=0.3, value=1.0, selection_probability=1.0)
        device = "desktop" if drifted and late else str(generator.choice(["desktop", "mobile"]))
        shop.events[-1] = msgspec.structs.replace(
            logged,
            context={"device": device},
            placements=[Slot(id="hero", limit=1, items=[item], model=f"offers/{2 + late}", rung="model")],
        )
        properties = {"decision_id": decision, "placement": "hero", "promotion_id": PRODUCTS[place]}
        shop.happen(track(customer, shop.tick(0.1), "Promotion Viewed", properties))
        if generator.random() < (0.06 if drifted and late else 0.3):
            shop.happen(track(customer, shop.tick(0.1), "Promotion Clicked", properties))
    shop.happen(track("nobody", shop.tick(3600), "Product Viewed", product(0)))
    write(home, shop.events, partition=0)


def run(home: Home, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    words = ["models", "health", "--home", str(home.root), *map(str, arguments)]
    with pytest.raises(SystemExit) as ended:
        kairos.build(words)(words)
    return int(ended.value.code or 0), capsys.readouterr().out


def test_a_model_in_health_is_said_to_be(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(home)
    live(home, drifted=False)
    code, told = run(home, capsys)
    assert code == 0, told
    assert "nothing to do" in told
    assert "3 of 3 features are as they were" in told
    assert "offers/3" in told


def test_what_has_drifted_is_named_and_told_to_prometheus(
    home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save_model(home)
    live(home, drifted=True)
    code, told = run(home, capsys, "--metrics", tmp_path / "health.prom")
    assert code == 1, told
    assert "train again, or roll back" in told
    assert "context__device" in told
    assert "1 of 3 features are as they were" in told
    exposed = dict(line.rsplit(" ", 1) for line in (tmp_path / "health.prom").read_text().splitlines())
    assert float(exposed[f'kairos_model_missing_ratio{{model="offers",feature="{ORDERED}"}}']) == 1.0
    assert float(exposed['kairos_model_psi{model="offers",feature="context__device"}']) > 0.25
    assert float(exposed['kairos_model_predicted_over_actual{model="offers",version="offers/3"}']) > 2.0
    assert float(exposed['kairos_model_health_state{model="offers",looked_at="offers/3"}']) == 2.0
    assert (home.root / "health" / "offers.prom").read_text() == (tmp_path / "health.prom").read_text()


def test_too_little_of_anything_is_said(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError, match="there is no model offers/champion"):
        run(home, capsys)
    save_model(home)
    with pytest.raises(TrainingError, match="no exposures"):
        run(home, capsys)
    live(home, drifted=False, customers=60)
    with pytest.raises(TrainingError, match=r"slots were seen .*at least 50"):
        run(home, capsys)


def divide(window: tuple[str, str], days: float) -> tuple[float, float, float, float]:
    """First and last day of what is compared with, and of what is now, in a log of 320 hours."""
    queries = msgspec.structs.replace(make_queries(), now=np.arange(320) * 3600 * 1_000_000)
    before, now = log.divide(queries, window, days)
    days_of = [float(it) / DAY for part in (before, now) for it in (part.now.min(), part.now.max())]
    return days_of[0], days_of[1], days_of[2], days_of[3]


def test_what_a_model_was_trained_on_is_compared_with_even_where_the_log_is_young() -> None:
    trained = ("1970-01-02T00:00:00+00:00", "1970-01-05T00:00:00+00:00")
    hour = 1 / 24
    assert divide(trained, 7.0) == pytest.approx((1, 4, 319 * hour - 7 + hour, 319 * hour))
    assert divide(trained, 30.0) == pytest.approx((1, 4, 4 + hour, 319 * hour))
    assert divide(("", ""), 7.0) == pytest.approx((0, 319 * hour - 7, 319 * hour - 7 + hour, 319 * hour))
    to_the_end = ("1970-01-08T00:00:00+00:00", "1970-01-14T00:00:00+00:00")
    assert divide(to_the_end, 7.0) == pytest.approx((0, 319 * hour - 7, 319 * hour - 7 + hour, 319 * hour))
    with pytest.raises(TrainingError, match="0 slots were seen before"):
        divide(("", ""), 30.0)


def test_the_worst_state_is_the_healths() -> None:
    def make(*drifts: Any) -> examining.Health:
        fine = compare("p", draw(1), draw(2), (4000, 4000))
        return examining.Health(
            label="m/1", before=("", "", 1), now=("", "", 1), features=list(drifts), scores=fine, versions=[]
        )

    fine, watch, act = (compare("x", draw(1), draw(2, mean=mean), (4000, 4000)) for mean in (0.0, 0.4, 1.0))
    assert make(fine).state == "ok"
    assert make(fine, watch).state == "watch"
    assert make(act, watch).state == "act"
