"""The catalog: every error at once and in its place; a running service takes up a good one, and refuses a bad one."""

from __future__ import annotations

import copy
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from features.documents import DocumentError
from service.catalog import reading, starter
from tests.service import shop
from tests.service.running import wait_until

if TYPE_CHECKING:
    from features.home import Home
    from tests.service.running import Service

BROKEN = """\
currency: euro
time_zone: Middle-earth/Shire
placements:
  - id: hero
    default: nothing
    limit: 0
    exploration: 1.5
  - id: hero
    colour: red
    default: a
candidates:
  - id: a
    kind: coupon
    price: -1
  - title: nameless
"""
CONTRADICTING = """\
placements:
  - id: hero
    default: nothing
    candidates: [a, nowhere]
  - {id: hero, default: a}
candidates:
  - id: a
  - id: b
  - id: a
experiments:
  - id: look
    placements: [hero, cellar]
    variants: [{id: x}, {id: y}, {id: x}]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as refused:
        reading.parse("catalog.yaml", text)
    return [problem.removeprefix("catalog.yaml:") for problem in refused.value.problems]


def test_every_error_of_shape_is_told_at_its_place_and_hides_no_other() -> None:
    told = problems(BROKEN)
    places = {re.match(r"\d+:\d+: [^:]*", problem)[0] for problem in told}  # type: ignore[index]  # each must match
    assert places == {
        "1:11: currency",
        "2:12: time_zone",
        "5:14: placements[0].default",
        "6:12: placements[0].limit",
        "7:18: placements[0].exploration",
        "8:9: placements[1].id",
        "9:13: placements[1].colour",
        "13:11: candidates[0].kind",
        "14:12: candidates[0].price",
        "15:5: candidates[1].id",
    }


def test_every_contradiction_is_told_at_its_place() -> None:
    assert problems(CONTRADICTING) == [
        "3:14: placements[0].default: there is no candidate 'nothing'",
        "4:21: placements[0].candidates[1]: there is no candidate 'nowhere'",
        "5:10: placements[1].id: 'hero' stands here a second time",
        "9:9: candidates[2].id: 'a' stands here a second time",
        "12:24: experiments[0].placements[1]: there is no placement 'cellar'",
        "13:39: experiments[0].variants[2].id: 'x' stands here a second time",
    ]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "a: [1, 2", "a: \t b", "a: &x 1\nb: *y\n", "\x00"])
def test_what_is_no_catalog_at_all_is_refused(text: str) -> None:
    assert len(problems(text)) >= 1


@pytest.mark.parametrize(
    "wrong",
    ["price: .nan", "value: .inf", "weight: 1.0e+300", "content: {until: 2026-11-30}"],
)
def test_what_an_answer_could_not_carry_is_refused(wrong: str) -> None:
    (problem,) = problems(f"placements: [{{id: p, default: a}}]\ncandidates:\n  - id: a\n    {wrong}\n")
    assert problem.startswith("4:")
    assert wrong.partition(":")[0] in problem


def test_ids_that_yaml_reads_as_numbers_are_ids() -> None:
    catalog, _ = reading.parse("c", "placements: [{id: 7, default: 12}]\ncandidates: [{id: 12}]\n")
    assert (catalog.placements[0].id, catalog.placements[0].default, catalog.candidates[0].id) == ("7", "12", "12")


def test_the_version_is_of_what_is_said_and_not_of_how() -> None:
    text = yaml.safe_dump(shop.CATALOG)
    _, version = reading.parse("c", text)
    assert reading.parse("c", "# a comment\n" + yaml.safe_dump(shop.CATALOG, sort_keys=True, indent=8))[1] == version
    changed = copy.deepcopy(shop.CATALOG)
    changed["candidates"][3]["price"] += 0.01
    assert reading.parse("c", yaml.safe_dump(changed))[1] != version


def test_an_empty_home_gets_a_starter_catalog_that_can_serve_and_one_that_is_there_stays(home: Home) -> None:
    starter.ensure(home)
    catalog, version = reading.read(home.catalog)
    assert {placement.id for placement in catalog.placements} == {"home-hero", "home-grid"}
    shop.write_catalog(home)
    starter.ensure(home)
    assert reading.read(home.catalog)[1] != version
    home.catalog.write_text(BROKEN)
    with pytest.raises(DocumentError, match="10 problems"):
        starter.ensure(home)


def refusals(service: Service, part: str) -> float:
    found = re.search(rf'kairos_refused_total{{part="{part}"}} (\S+)', service.get("/metrics").text)
    return float(found[1]) if found else 0.0


@pytest.fixture
def restored(service: Service) -> Any:
    """The shop's catalog is back in every process after the test."""
    before = service.get("/ready").json()["catalog_version"]
    yield service
    shop.write_catalog(service.home)
    service.everywhere(lambda ready: ready["catalog_version"] == before and "catalog" not in ready["problems"])


def test_a_good_catalog_is_taken_up_by_every_process(restored: Service) -> None:
    service = restored
    document = copy.deepcopy(shop.CATALOG)
    document["candidates"].append({"id": "o-new", "title": "New", "value": 1000.0, "content": {"cta": "Now"}})
    document["placements"].append({"id": "cellar", "default": "o-new", "exploration": 0.0})
    shop.write_catalog(service.home, document)
    _, version = reading.read(service.home.catalog)
    service.everywhere(lambda ready: ready["catalog_version"] == version)
    for part in service.apis:
        with service.at(part) as there:
            answer = there.decide("catalog-1", "cellar")
            assert answer["catalog_version"] == version
            assert answer["placements"][0]["items"][0]["content"] == {"cta": "Now"}


def test_a_decision_that_waits_while_its_placement_goes_is_still_made(restored: Service) -> None:
    service = restored
    before = service.get("/ready").json()["catalog_version"]
    answers: list[dict[str, Any]] = []
    # The token of an event that never comes: the decision waits for it until more than half of its deadline is over.
    late: dict[str, Any] = {"after": f"0-{2**60}", "deadline_ms": 8000}
    waiting = threading.Thread(target=lambda: answers.append(service.decide("catalog-3", "pair", **late)))
    waiting.start()
    shop.write_catalog(service.home, shop.CATALOG | {"placements": shop.CATALOG["placements"][:1], "experiments": []})
    wait_until(lambda: service.get("/ready").json()["catalog_version"] != before)
    waiting.join()
    assert answers[0]["catalog_version"] == before
    assert len(answers[0]["placements"][0]["items"]) == 2


def test_a_broken_catalog_is_refused_told_and_counted_while_the_old_one_serves(restored: Service) -> None:
    service = restored
    ready = service.get("/ready").json()
    counted = refusals(service, "catalog")
    service.home.catalog.write_text(CONTRADICTING)
    service.everywhere(lambda now: "catalog" in now["problems"])
    now = service.get("/ready")
    assert now.status_code == 200
    assert now.json()["catalog_version"] == ready["catalog_version"]
    assert "catalog.yaml has 6 problems" in now.json()["problems"]["catalog"]
    assert "12:24: experiments[0].placements[1]: there is no placement 'cellar'" in now.json()["problems"]["catalog"]
    assert refusals(service, "catalog") == counted + 2
    assert service.decide("catalog-2")["catalog_version"] == ready["catalog_version"]
    service.home.catalog.unlink()
    service.everywhere(lambda gone: "No such file" in gone["problems"].get("catalog", ""))
    assert service.decide("catalog-2")["catalog_version"] == ready["catalog_version"]


def test_a_published_catalog_is_in_the_archive_for_training(restored: Service) -> None:
    service = restored
    document = copy.deepcopy(shop.CATALOG)
    document["candidates"][0]["price"] = 123.25
    shop.write_catalog(service.home, document)
    wait_until(lambda: any(b'"price":123.25' in payload for _, payload in service.archived("")))
