"""Logged decisions are made again to the bit from what is kept: log, archive, catalogs, models."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from features import archive
from features.home import Home
from service.catalog import reading
from tests.service import recording, running, shop
from tests.service.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.running import Service

GOVERNED = recording.GOVERNED | {
    "consent": {"marketing": True},
    "caps": [cap | {"scope": {"placements": ["grid", "calm"]}} for cap in recording.GOVERNED["caps"]],
}
PAGE = [{"id": "grid", "limit": 6}, {"id": "calm", "candidates": ["o-2", "nowhere", "o-11", "o-4"]}, {"id": "pair"}]
VIEWED = {"event": "Product Viewed", "properties": {"product_id": "o-8"}}
REQUESTS: list[dict[str, Any]] = [
    {"placements": PAGE, "context": {"device": "mobile", "timezone": "Asia/Tokyo", "page": {"path": "/ä"}}},
    {"placements": PAGE, "events": [VIEWED, VIEWED], "anonymous_id": "replayed-anonymous"},
    {"placements": PAGE, "flags": {"look": "uniform"}, "context": {"traits": {"age": 40}}},
    {"placements": PAGE, "flags": {"look": "unmodelled"}},
    {"placements": PAGE, "flags": {"look": "challenger"}},
]


def kairos(service: Service, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kairos", *arguments, "--home", service.home.root],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "160"},
    )


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A shop with caps, budgets, rules and two models, in which decisions of many kinds were made."""
    home = Home(tmp_path_factory.mktemp("governed") / "home")
    shop.write_catalog(home, GOVERNED)
    shop.publish(home, "1")
    shop.publish(home, "2", "challenger")
    started = running.start(home, workers=1)
    try:
        _live(started)
        yield started
    finally:
        running.stop(started)


def _live(service: Service) -> None:
    for number in range(24):
        customer = f"replayed-{number % 5}"
        name = ("Product Viewed", "Order Completed", "Promotion Viewed", "Product Viewed")[number % 4]
        at, category = f"o-{number % 12}", shop.CATEGORIES[number % 3]
        token = service.track(customer, name, product_id=at, promotion_id=at, category=category, placement="grid")
        service.decide(customer, **REQUESTS[number % len(REQUESTS)], after=token if number % 2 else None)
    brought = [{"id": "item-1", "fields": [{"name": "price", "value": 2.0}]}, {"id": "o-2"}]
    ranking = {
        "event": "ranking",
        "id": "replayed",
        "timestamp": "1599391467000",
        "user": "replayed-0",
        "items": brought,
    }
    assert service.post("/rank/calm", ranking).status_code == 200
    audience = service.post("/v1/audiences", {"placement": "young"}).json()["id"]
    wait_until(lambda: service.get(f"/v1/audiences/{audience}").json()["status"] != "running")
    done = service.get(f"/v1/audiences/{audience}").json()
    assert (done["status"], done["given"]) == ("done", 5), str(done)


@pytest.fixture(scope="module")
def decided(governed: Service) -> str:
    """The id of a decision after which catalog and champion were replaced."""
    decision: str = governed.decide("replayed-1", **REQUESTS[1])["decision_id"]
    changed = copy.deepcopy(GOVERNED)
    changed["candidates"][4]["value"] = 0.5
    shop.write_catalog(governed.home, changed)
    version = reading.read(governed.home.catalog)[1]
    governed.everywhere(lambda ready: ready["catalog_version"] == version)
    shop.publish(governed.home, "3")
    governed.everywhere(lambda ready: ready["models"]["champion"] == "offers/3")
    governed.decide("replayed-2", **REQUESTS[0])
    return decision


def test_a_decision_is_made_again_to_the_bit_after_catalog_and_model_have_changed(
    governed: Service, decided: str
) -> None:
    done = kairos(governed, "replay-decision", decided)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same to the bit" in done.stdout
    assert "offers/1" in done.stdout


def test_every_logged_decision_is_the_same_to_the_bit(governed: Service, decided: str) -> None:
    assert decided
    done = kairos(governed, "replay-decisions", "--since", "1h")
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"^(\d+) of (\d+) decisions are the same to the bit, 0 differ$", done.stdout, re.MULTILINE)
    assert counted is not None, done.stdout
    assert counted[1] == counted[2]
    assert int(counted[1]) == 32  # those of the page, a ranking, and an audience
    assert "newest" not in done.stdout
    few = kairos(governed, "replay-decisions", "--since", "1h", "--most", "3")
    assert few.returncode == 0, few.stdout + few.stderr
    assert "3 of 3 decisions" in few.stdout
    assert few.stdout.endswith("These are the newest 3: --most takes more.\n")
    reasons = {
        reason
        for one in range(5)
        for d in governed.logged(f"replayed-{one}")
        for s in d.placements
        for reason in s.rejected
    }
    assert reasons >= {"rule", "rule_error", "cap:daily", "stock", "unknown_candidate", "shown_on_page"}


def test_a_record_that_is_not_what_is_made_again_is_told(governed: Service, decided: str) -> None:
    logged = next(one for one in governed.logged("replayed-1") if one.decision_id == decided)
    slot = logged.placements[0]
    items = [msgspec.structs.replace(slot.items[0], priority=0.125), *slot.items[1:]]
    wrong = msgspec.structs.replace(
        logged,
        decision_id="altered/by hand",
        message_id="decision:altered/by hand",
        placements=[msgspec.structs.replace(slot, items=items), *logged.placements[1:]],
    )
    entry = archive.entry(logged.time, wrong)
    archive.write(governed.home.archive, "77", archive.tabulate(77, [entry]))
    done = kairos(governed, "replay-decision", "altered/by hand")
    assert done.returncode == 1
    assert re.search(r"placements\.grid\.items\.0\.priority: logged 0\.125, made again", done.stdout)
    again = kairos(governed, "replay-decision", "never made")
    assert (again.returncode, again.stdout) == (1, "")
    assert "there is no decision" in again.stderr


def test_another_catalog_or_model_is_weighed_over_what_was_logged(
    governed: Service, decided: str, tmp_path: Path
) -> None:
    assert decided
    changed = copy.deepcopy(GOVERNED)
    changed["candidates"][10]["value"] = 500.0
    planned = tmp_path / "planned.yaml"
    planned.write_text(yaml.safe_dump(changed))
    done = kairos(governed, "replay-decisions", "--since", "1h", "--with", planned, "--model", "challenger")
    assert done.returncode == 0, done.stderr
    assert "model offers/2" in done.stdout
    rows = {name: line for line in done.stdout.splitlines() for name in ("calm", "grid", "pair") if f" {name} " in line}
    assert set(rows) == {"calm", "grid", "pair"}
    changes = re.search(r"\(([1-9]\d*)%\).*\+[\d.]+%", rows["grid"])  # where caps still allow what is worth more now
    assert changes is not None
