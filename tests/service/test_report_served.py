"""From decisions of a running service to the report: what one half writes, the other half reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from features.home import Home
from service.experiments.reports import reporting
from service.experiments.reports.trials import find
from tests.service import running
from tests.service.experimenting import METRICS, catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.running import Service

VISITORS = 24


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = Home(tmp_path_factory.mktemp("reported") / "home")
    home.root.mkdir()
    said = catalog(analysis={"metrics": METRICS, "segments": ["device"]}) | {"holdout": {"share": 0.2}}
    home.catalog.write_bytes(msgspec.yaml.encode(said))
    started = running.start(home, workers=1)
    yield started
    running.stop(started)


def see(shop: Service, who: dict[str, str], **asked: Any) -> str | None:
    """A decision and its view, as a page does both; the variant that the answer names."""
    context = {"device": "mobile"} | asked.pop("context", {})
    body = {**who, "placements": [{"id": "hero"}], "context": context, **asked}
    answer = shop.post("/v1/decisions", body).json()
    properties = {"decision_id": answer["decision_id"], "placement": "hero"}
    ids = {"userId": who.get("customer_id"), "anonymousId": who.get("anonymous_id")}
    sent = {name: value for name, value in ids.items() if value}
    reply = shop.post("/v1/track", {**sent, "event": "Promotion Viewed", "properties": properties})
    assert reply.status_code == 200, reply.text
    return {each["id"]: each["variant"] for each in answer["experiments"]}.get("hero-test")


def test_a_report_counts_what_a_running_service_decided(shop: Service) -> None:
    given = [see(shop, {"customer_id": f"c-{number}"}) for number in range(VISITORS)]
    for number in range(0, VISITORS, 2):
        shop.track(f"c-{number}", "Promotion Clicked", placement="hero", promotion_id="c-1")
    assert see(shop, {"customer_id": "tester"}, flags={"hero-test": "bold"}) == "bold"
    see(shop, {"customer_id": "robot"}, context={"userAgent": "Mozilla/5.0 (compatible; Googlebot/2.1)"})
    guest = see(shop, {"anonymous_id": "a-guest"})
    reply = shop.post("/v1/identify", {"anonymousId": "a-guest", "userId": "guest"})
    assert reply.status_code == 200
    shop.features("guest")
    assert see(shop, {"customer_id": "guest"}) == guest
    shop.track("guest", "Order Completed", revenue=30.0)
    shop.archived("guest")
    report = reporting.report(shop.home, "hero-test")
    chosen = [variant for variant in [*given, guest] if variant is not None]
    assert {arm.id: arm.units for arm in report.arms} == {name: chosen.count(name) for name in ("plain", "bold")}
    assert (report.left_out.forced, report.left_out.met_two, report.left_out.merged) == (1, 0, 0)
    assert report.left_out.bots == 1
    clicks, spend = report.metrics[0], report.metrics[1]
    clicked = {
        name: sum(variant == name for variant in given[::2]) / max(chosen.count(name), 1) for name in ("plain", "bold")
    }
    assert {value.variant: value.value for value in clicks.values} == pytest.approx(clicked)
    if guest is not None:
        total = sum((value.value or 0.0) * value.units for value in spend.values)
        assert total == pytest.approx(30.0)
    assert shop.get("/v1/experiments/hero-test/report").json()["arms"] == msgspec.to_builtins(report.arms)
    holdout = reporting.report(shop.home, "holdout")
    assert sum(arm.units for arm in holdout.arms) == VISITORS + 2
    held = next(arm.units for arm in holdout.arms if arm.id == "held")
    assert held - [*given, guest].count(None) in (0, 1)  # the tester may be held too, and saw `bold` all the same


def test_the_units_keep_what_the_catalog_and_the_context_said(shop: Service) -> None:
    from service.catalog import versions

    trial = find(versions.read(shop.home)[0], "hero-test")
    units = reporting.load(shop.home, trial)
    assert set(units.chance.tolist()) == {0.5}
    assert units.segments["device"].labels == ["mobile"]
