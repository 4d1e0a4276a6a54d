"""What a reward brings, learnt from orders by the real training, decides in the real service, and again at a replay."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from features.home import Home
from features.settings import Settings
from models.bundle import load
from tests.service import running, shop
from tests.service.running import wait_until
from tests.training.archives import CATALOG as PRICED
from tests.training.archives import PRODUCTS, order_history
from tests.training.quiet import Quiet
from training import fit, pipeline
from training.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.running import Service

PLACEMENTS: list[dict[str, Any]] = [
    {"id": name, "limit": 8, "default": PRODUCTS[0], "exploration": 0.0, "value_from": whose}
    for name, whose in (("valued", "model"), ("plain", "catalog"))
]
EXPERIMENT = {
    "id": "whose", "placements": ["plain"], "variants": [{"id": "catalog"}, {"id": "model", "value_from": "model"}]
}  # fmt: skip
CATALOG = {
    "placements": PLACEMENTS,
    "experiments": [EXPERIMENT],
    "candidates": PRICED,
    "consent": {"marketing": True},
}


@pytest.fixture(scope="module")
def valued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A shop whose champion was trained with values from its orders, in which a product brings its price."""
    home = Home(tmp_path_factory.mktemp("valued") / "home")
    order_history(home, customers=40, days=50)
    shop.write_catalog(home, CATALOG)
    trees = fit.Options(trees=60, learning_rate=0.1)
    report = pipeline.train(Settings(home=home), Options(fit=trees, value="revenue"), Quiet())
    assert report.registered.is_moved, report.verdicts
    started = running.start(home, workers=1)
    try:
        yield started
    finally:
        running.stop(started)


def items(service: Service, placement: str, **asked: Any) -> list[dict[str, Any]]:
    answer = service.decide("c-1", placement, **asked)
    assert answer["rung"] == "model"
    found: list[dict[str, Any]] = answer["placements"][0]["items"]
    return found


def test_the_models_values_rank_where_the_placement_says_so(valued: Service) -> None:
    shown = items(valued, "valued")
    assert len({item["value"] for item in shown}) > 3
    for item in shown:
        price = 5.0 + PRODUCTS.index(item["id"])
        assert item["value"] == pytest.approx(price, rel=0.35)
        assert item["priority"] == pytest.approx(item["propensity"] * item["value"], rel=1e-12)
    assert [item["priority"] for item in shown] == sorted((item["priority"] for item in shown), reverse=True)


def test_the_catalogs_values_stay_elsewhere_and_an_experiment_compares_both(valued: Service) -> None:
    assert {item["value"] for item in items(valued, "plain", flags={"whose": "catalog"})} == {1.0}
    varied = items(valued, "plain", flags={"whose": "model"})
    assert [item["id"] for item in varied] == [item["id"] for item in items(valued, "valued")]
    assert len({item["value"] for item in varied}) > 3


def test_decisions_by_values_are_made_again_to_the_bit_an_audiences_too(valued: Service) -> None:
    token = valued.track("c-2", "Newsletter Opened")
    decision = valued.decide("c-2", "valued", after=token)["decision_id"]
    audience = valued.post("/v1/audiences", {"placement": "valued"}).json()["id"]
    wait_until(lambda: valued.get(f"/v1/audiences/{audience}").json()["status"] != "running")
    assert valued.get(f"/v1/audiences/{audience}").json()["given"] >= 1
    told = [run(valued, "replay-decision", decision), run(valued, "replay-decisions", "--since", "1h")]
    assert "the same to the bit" in told[0]
    counted = re.search(r"^(\d+) of (\d+) decisions are the same to the bit, 0 differ$", told[1], re.MULTILINE)
    assert counted is not None, told[1]
    assert counted[1] == counted[2]
    logged = next(one for one in valued.logged("c-2") if one.decision_id == decision)
    assert len({item.value for item in logged.placements[0].items}) > 3


def test_a_champion_without_values_leaves_them_to_the_catalog_and_is_counted(valued: Service) -> None:
    before = unvalued(valued)
    shop.publish(valued.home, "77", "champion")
    valued.everywhere(lambda ready: ready["models"]["champion"] == "offers/77")
    assert {item["value"] for item in items(valued, "valued")} == {1.0}
    assert unvalued(valued) > before


def unvalued(service: Service) -> float:
    found = re.search(r"^kairos_unvalued_total (\S+)", service.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def run(service: Service, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kairos", *arguments, "--home", service.home.root],
        capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_bundle_has_both_trees_and_says_what_they_are_of(valued: Service) -> None:
    bundle = load(valued.home.bundles / "offers" / "1")
    assert bundle.description.value is not None
    assert bundle.description.value.of == "revenue"
    assert bundle.appraiser is not None
    assert bundle.appraiser.trees is not None
    matrix = np.zeros((3, len(bundle.description.signature.features)))
    assert (bundle.appraise(matrix) > 0.0).all()
