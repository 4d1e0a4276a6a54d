"""Allocations by a running service. A bandit: rewards come in, weights move, units stay, and the report is not fooled.

Interleaved slates: teams are logged, and their clicks credited.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from features.events.schema import CatalogPublished, decode
from features.home import Home
from service.catalog import versions
from service.experiments.allocation import times
from service.experiments.reports import reporting
from service.experiments.reports.html import render
from service.experiments.reports.wording import sheets
from tests.service import running
from tests.service.experimenting import catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.catalog.experiments import Move
    from tests.service.running import Service

RATES = {"plain": 0.1, "bold": 0.7}
VISITORS = 120
RANKS = {
    "id": "ranks",
    "status": "running",
    "placements": ["grid"],
    "allocation": {"kind": "interleaved"},
    "variants": [
        {"id": "usual", "strategy": "fixed"},
        {"id": "turned", "strategy": "fixed", "candidates": [f"c-{number}" for number in range(7, -1, -1)]},
    ],
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = Home(tmp_path_factory.mktemp("bandit") / "home")
    home.root.mkdir()
    analysis = {"mode": "fixed", "units": VISITORS, "metrics": [{"id": "clicks", "event": "Promotion Clicked"}]}
    said = catalog(allocation={"kind": "thompson", "every": "1s", "floor": 0.1}, analysis=analysis)
    said["placements"].append({"id": "grid", "limit": 4, "default": "c-0"})
    said["candidates"] = [{"id": f"c-{number}"} for number in range(8)]
    said["experiments"].append(RANKS)
    home.catalog.write_bytes(msgspec.yaml.encode(said))
    started = running.start(home, workers=2)
    yield started
    running.stop(started)


def visit(shop: Service, visitor: str, generator: np.random.Generator) -> str:
    """A page view of a new visitor, who may click; the variant."""
    asked = {"anonymous_id": visitor, "placements": [{"id": "hero"}]}
    answer = shop.post("/v1/decisions", asked).json()
    [variant] = (one["variant"] for one in answer["experiments"])
    about = {"decision_id": answer["decision_id"], "placement": "hero", "promotion_id": "c-1"}
    events = ["Promotion Viewed", *["Promotion Clicked"] * int(generator.random() < RATES[variant])]
    sent = [{"type": "track", "anonymousId": visitor, "event": event, "properties": about} for event in events]
    assert shop.post("/v1/batch", {"batch": sent}).status_code == 200
    return str(variant)


def moves(shop: Service) -> tuple[Move, ...]:
    return versions.read(shop.home)[0].experiments[0].moves


def test_weights_move_to_the_better_variant_and_bind_new_visitors_only(shop: Service) -> None:
    generator = np.random.default_rng(1)
    before = {name: visit(shop, name, generator) for name in (f"early-{at}" for at in range(VISITORS))}
    assert 0.3 < list(before.values()).count("bold") / VISITORS < 0.7
    running.wait_until(lambda: moves(shop) and moves(shop)[-1].weights[1] > 0.85)
    settled = moves(shop)[-1].since
    version = versions.read(shop.home)[1]
    shop.everywhere(lambda ready: ready["catalog_version"] == version or len(moves(shop)) > 1)
    running.wait_until(lambda: time.time_ns() // 1000 > settled)
    after = {name: visit(shop, name, generator) for name in (f"late-{at}" for at in range(VISITORS))}
    assert list(after.values()).count("bold") / VISITORS > 0.75
    for at in range(0, VISITORS, 6):  # whoever comes again stays, by every process
        assert visit(shop, f"early-{at}", generator) == before[f"early-{at}"]
        assert visit(shop, f"late-{at}", generator) == after[f"late-{at}"]
    known = {(0.5, 0.5), *(move.weights for move in moves(shop))}
    for name, variant in (*list(before.items())[::12], *list(after.items())[::12]):
        told = {decision.chances["hero-test"] for decision in shop.logged(name)}
        assert len(told) == 1
        assert told <= {weights[variant == "bold"] for weights in known}
        assert name.startswith("late") or told == {0.5}


def test_another_worker_takes_over_and_every_move_is_in_the_archive(shop: Service) -> None:
    looked = times.noted(shop.home)["hero-test"]
    shop.kill("worker")
    running.wait_until(lambda: times.noted(shop.home)["hero-test"] > looked)
    moved = [one for one in versions.history(shop.home) if one.author == "kairos: weights"]
    assert len(moved) >= len(moves(shop)) > 0
    published = {event.version for _, told in shop.archived("") if isinstance(event := decode(told), CatalogPublished)}
    assert moved[-1].version in published


def test_the_report_weighs_and_tells_how_the_weights_moved(shop: Service) -> None:
    shop.archived(f"late-{VISITORS - 1}")
    answer = shop.get("/v1/experiments/hero-test/report").json()
    assert (answer["weighted"], answer["mismatch"]["alarm"]) == (True, False)
    assert answer["units"] == 2 * VISITORS
    assert answer["left_out"]["met_two"] == 0
    [found] = answer["metrics"][0]["comparisons"]
    assert found["low"] <= RATES["bold"] - RATES["plain"] <= found["high"]
    assert answer["weights"][0] == {"since": None, "weights": {"plain": 0.5, "bold": 0.5}}
    assert answer["weights"][-1]["weights"]["bold"] > 0.8
    report = reporting.report(shop.home, "hero-test")
    [sheet] = (one for one in sheets(report) if one.title == "Weights")
    assert sheet.rows[0] == ("the beginning", "50 %", "50 %")
    assert "Weights as they moved" in render(report)
    assert any("bind new units only" in one for one in report.verdict.assumptions)


def test_interleaved_slates_log_their_teams_and_the_report_tells_whose_picks_are_clicked(shop: Service) -> None:
    for number in range(40):
        answer = shop.decide(f"v-{number}", "grid")
        assert answer["experiments"] == [{"id": "ranks", "variant": "interleaved", "forced": False}]
        shown = [item["id"] for item in answer["placements"][0]["items"]]
        assert {item["selection_probability"] for item in answer["placements"][0]["items"]} == {None}
        about = {"decision_id": answer["decision_id"], "placement": "grid"}
        shop.track(f"v-{number}", "Promotion Viewed", **about)
        assert set(shown) == {"c-0", "c-1", "c-7", "c-6"}
        shop.track(f"v-{number}", "Promotion Clicked", promotion_id="c-7", **about)
    for number in range(0, 40, 10):
        [logged] = shop.logged(f"v-{number}")
        assert {item.id: item.team for item in logged.placements[0].items} == {
            **dict.fromkeys(("c-0", "c-1"), "usual"),
            **dict.fromkeys(("c-7", "c-6"), "turned"),
        }
    shop.archived("v-39")
    report = shop.get("/v1/experiments/ranks/report").json()
    assert (report["units"], report["metrics"]) == (40, [])
    assert report["verdict"]["winner"] == "turned"
    assert report["preference"]["teams"][1]["clicks"] == 40
