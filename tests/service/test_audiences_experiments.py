"""Audiences and experiments: who is held out gets nothing, variants hold as they do on a page."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest

from features.events.schema import encode
from models.bundle import load
from service.catalog.experiments import HELD, HOLDOUT
from service.catalog.versions import read
from service.decisions.replaying import record_again
from service.experiments.assignment import Units, assign, tabulate
from service.experiments.reports.extraction import extract
from service.experiments.reports.trials import Past, find
from tests.service import shop
from tests.service.crowd import NOW, VIEWS, customer, decisions, filler, frame, make, rows

if TYPE_CHECKING:
    from pathlib import Path

    from features.settings import Settings

HALF = {"share": 0.4}
FEW = ["o-1", "o-2"]


@pytest.fixture
def fill(settings: Settings, redis_url: str) -> Any:
    return filler(settings, redis_url)


def held(settings: Settings, *units: str) -> set[str]:
    table = tabulate(read(settings.home)[0])
    return {
        unit for unit in units if assign(table, Units(unit), NOW, lambda _: False, {}, bool).variants[HOLDOUT] == HELD
    }


def test_who_is_held_out_gets_nothing_and_is_counted(
    settings: Settings, redis_url: str, fill: Any, tmp_path: Path
) -> None:
    names = [f"c-{number:02}" for number in range(40)]
    fill(*(customer(name, 1) for name in names), holdout=HALF)
    left_out = held(settings, *names)
    assert 0 < len(left_out) < 40
    done = make(settings, tmp_path / "a.parquet")
    assert (done.given, done.nothing) == (40 - len(left_out), {"holdout": len(left_out)})
    found = {row["customer"]: row for row in rows(tmp_path / "a.parquet")}
    assert {name for name, row in found.items() if row["reason"] == "holdout"} == left_out
    assert all(row["candidate"] is None for name, row in found.items() if name in left_out)
    assert {decision.customer for decision in decisions(redis_url)} == {*names} - left_out


def test_the_holdout_goes_by_the_id_under_which_a_customer_was_seen_first(
    settings: Settings, fill: Any, tmp_path: Path
) -> None:
    fill(customer("c", 1), holdout=HALF)
    numbers = [f"a-{number}" for number in range(40)]
    inside = next(iter(sorted(held(settings, *numbers))))
    outside = next(name for name in numbers if name not in held(settings, *numbers))
    fill(
        customer("known-1", 1, assignment=inside, assigned=NOW),
        customer("known-2", 1, assignment=outside, assigned=NOW),
        holdout=HALF,
    )
    make(settings, tmp_path / "a.parquet")
    found = {row["customer"]: row["reason"] for row in rows(tmp_path / "a.parquet")}
    assert (found["known-1"], found["known-2"]) == ("holdout", None)


def test_variants_hold_in_an_audience_and_its_log_is_made_again_to_the_bit(
    settings: Settings, redis_url: str, fill: Any, tmp_path: Path
) -> None:
    tried: dict[str, Any] = {
        "id": "few",
        "status": "running",
        "placements": ["newsletter"],
        "eligibility": f"{VIEWS} >= 2.0",
        "variants": [{"id": "usual"}, {"id": "few", "candidates": FEW, "exploration": 0.2}],
    }
    crowd = [customer(f"c-{number:02}", *range(1, 2 + number % 2)) for number in range(40)]
    fill(*crowd, experiments=[tried])
    done = make(settings, tmp_path / "a.parquet")
    assert done.given == 40
    found = {row["customer"]: row for row in rows(tmp_path / "a.parquet")}
    logged = {decision.customer: decision for decision in decisions(redis_url)}
    arms = {name: decision.variants.get("few", "") for name, decision in logged.items()}
    assert set(arms.values()) == {"", "usual", "few"}
    assert {name for name, arm in arms.items() if not arm} == {row.text for row in crowd[::2]}  # not eligible
    live, bundle = frame(settings, redis_url), load(settings.home.bundles / "offers" / "1")
    for name, decision in logged.items():
        assert record_again(decision, live, {"champion": bundle}) == decision
        [item] = decision.placements[0].items
        assert found[name]["candidate"] == item.id
        assert found[name]["propensity"] == item.propensity
        if arms[name] == "few":
            assert item.id in FEW
            assert decision.placements[0].exploration == 0.2


def test_another_model_and_what_is_rolled_out_hold_in_an_audience(
    settings: Settings, redis_url: str, fill: Any, tmp_path: Path
) -> None:
    rolled = {
        "id": "other",
        "status": "rolled_out",
        "rolled_out": "new",
        "variants": [{"id": "old"}, {"id": "new", "model": "challenger"}],
    }
    fill(*(customer(f"c-{number}", number) for number in range(12)), holdout=HALF, experiments=[rolled])
    shop.publish(settings.home, "2", "challenger")
    done = make(settings, tmp_path / "a.parquet")
    assert done.given > 0
    models = {
        "champion": load(settings.home.bundles / "offers/1"),
        "challenger": load(settings.home.bundles / "offers/2"),
    }
    live = frame(settings, redis_url)
    for decision in decisions(redis_url):
        assert decision.placements[0].model == "offers/2"
        assert record_again(decision, live, models) == decision


def test_an_audience_enrols_nobody_for_the_holdout(
    settings: Settings, redis_url: str, fill: Any, tmp_path: Path
) -> None:
    """Who is held has nothing to look at: those who open what they get would make the shares uneven."""
    fill(*(customer(f"c-{number}", 1) for number in range(6)), holdout=HALF)
    make(settings, tmp_path / "a.parquet")
    logged = decisions(redis_url)
    assert logged
    assert all(decision.variants[HOLDOUT] == "open" for decision in logged)
    trial = find(read(settings.home)[0], HOLDOUT)
    past = Past(settings.home, trial)
    assert len(extract(_table(logged), trial, past).decisions) == 0
    paged = [msgspec.structs.replace(decision, audience="") for decision in logged]
    assert len(extract(_table(paged), trial, past).decisions) == len(logged)


def _table(logged: list[Any]) -> pa.Table:
    return pa.table(
        {
            "type": ["decision"] * len(logged),
            "event": pa.array([None] * len(logged), pa.string()),
            "arrival": [decision.received for decision in logged],
            "payload": [encode(decision) for decision in logged],
        }
    )


def test_caps_of_who_competes_in_a_variant_hold(settings: Settings, fill: Any, tmp_path: Path) -> None:
    """The placement's own candidates are not bounded, those of the variant are."""
    tried: dict[str, Any] = {
        "id": "few",
        "status": "running",
        "placements": ["newsletter"],
        "variants": [{"id": "few", "candidates": FEW}, {"id": "fewer", "candidates": FEW[:1]}],
    }
    letter = {"id": "newsletter", "channel": "email", "default": "o-0", "candidates": ["o-4"], "exploration": 0.0}
    fill(
        *(customer(f"c-{number}", 1) for number in range(8)),
        placements=[*copy.deepcopy(shop.CATALOG["placements"]), letter],
        experiments=[tried],
        budgets=[{"id": "three", "limit": 3, "period": "1d", "scope": {"candidates": FEW}}],
    )
    assert make(settings, tmp_path / "a.parquet").given == 3
    assert make(settings, tmp_path / "b.parquet").given == 0
