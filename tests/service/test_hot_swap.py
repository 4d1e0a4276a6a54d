"""The champion changes while decisions are made: none fails, and a model that cannot serve never does."""

from __future__ import annotations

import re
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pytest

from models.bundle import DEFAULT_NAME, save, write_alias
from models.signature import Feature, Signature
from service import live
from tests.service import shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.running import Service


@pytest.fixture
def swappable(service: Service) -> Iterator[Service]:
    """The first champion is back in every process after the test, alone."""
    yield service
    (service.home.bundles / DEFAULT_NAME / "aliases.json").write_text('{"champion": "1"}')
    service.everywhere(lambda ready: ready["models"] == {"champion": "offers/1"} and not ready["problems"])


def refusals(service: Service) -> float:
    found = re.search(r'kairos_refused_total{part="model"} (\S+)', service.get("/metrics").text)
    return float(found[1]) if found else 0.0


def swaps(service: Service) -> float:
    """How often a version was taken up, as the service measures it."""
    found = re.search(r"kairos_model_swap_seconds_count (\S+)", service.get("/metrics").text)
    return float(found[1]) if found else 0.0


def serves(version: str, ready: dict[str, Any]) -> bool:
    return bool(ready["models"].get("champion") == f"offers/{version}")


def test_a_new_champion_is_taken_up_without_a_failed_request(swappable: Service) -> None:
    service = swappable
    shop.publish(service.home, "2", alias=None)
    before = swaps(service)
    versions: Counter[str] = Counter()
    failed: list[Any] = []
    done = threading.Event()

    def hammer(name: str) -> None:
        while not done.is_set():
            reply = service.post("/v1/decisions", {"customer_id": name, "placements": [{"id": "grid"}]})
            if reply.status_code == 200 and (answer := reply.json())["rung"] == "model":
                versions[answer["model"]["version"]] += 1
            else:
                failed.append(reply.text)

    threads = [threading.Thread(target=hammer, args=(f"swap-{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for version in ("2", "1", "2"):
        write_alias(service.home.bundles, DEFAULT_NAME, "champion", version)
        service.everywhere(partial(serves, version))
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert set(versions) == {"1", "2"}
    assert swaps(service) >= before + 3 * len(service.apis)
    assert service.decide("swap-0")["model"]["version"] == "2"


def test_the_scores_are_those_of_the_version_that_is_named(swappable: Service) -> None:
    service = swappable
    shop.publish(service.home, "2", alias="challenger")
    service.everywhere(lambda ready: ready["models"].get("challenger") == "offers/2")
    champion = service.decide("swap-3", placements=[{"id": "calm", "limit": 12}])
    challenger = service.decide("swap-3", placements=[{"id": "calm", "limit": 12}], flags={"look": "challenger"})
    assert (champion["model"]["version"], challenger["model"]["version"]) == ("1", "2")
    scores = [{item["id"]: item["propensity"] for item in a["placements"][0]["items"]} for a in (champion, challenger)]
    assert scores[0] != scores[1]


def unfillable(service: Service) -> None:
    signature = Signature((*shop.signature().features[:-1], Feature(shop.REFUSED)))
    shop.publish(service.home, "11", alias=None, of=signature)


def cut_off(service: Service) -> None:
    shop.publish(service.home, "12", alias=None)
    model = service.home.bundles / DEFAULT_NAME / "12" / "model.txt"
    model.write_text(model.read_text()[:5000])


def unwritten(service: Service) -> None:
    (service.home.bundles / DEFAULT_NAME / "13").mkdir(exist_ok=True)


def breaking(service: Service) -> None:
    """Loads, and decides for whom nothing is known; for mobile devices its propensity is no number."""
    rows = np.repeat([[0.0], [1.0]], 200, axis=0)
    table = lightgbm.Dataset(rows, rows[:, 0], feature_name=["context__device"], categorical_feature=[0])
    parameters = {"objective": "regression", "verbosity": -1, "num_threads": 1, "boost_from_average": False}
    booster = lightgbm.train(parameters, table, 1)
    mobile = float(np.asarray(booster.predict([[0.0]], raw_score=True))[0])
    text = re.sub(
        r"leaf_value=(\S+) (\S+)",
        lambda found: "leaf_value=" + " ".join("nan" if float(it) == mobile else it for it in found.groups()),
        booster.model_to_string(),
    )
    signature = Signature((Feature("context__device", "category", ("mobile", "desktop")),))
    save(service.home.bundles / DEFAULT_NAME / "14", shop.describe("14", signature), text)
    for part in service.apis:
        with service.at(part) as there:
            for number in range(live.RECORD_EVERY):
                there.decide(f"mobile-{number}", context={"device": "mobile"})


@pytest.mark.parametrize(
    ("version", "make", "reason"),
    [
        ("11", unfillable, shop.REFUSED),
        ("12", cut_off, "not the file"),
        ("13", unwritten, "No such file"),
        ("14", breaking, "no numbers"),
    ],
)
def test_a_model_that_cannot_serve_is_refused_told_and_counted_while_the_old_one_serves(
    swappable: Service, version: str, make: Any, reason: str
) -> None:
    service = swappable
    make(service)
    counted = refusals(service)
    write_alias(service.home.bundles, DEFAULT_NAME, "champion", version)
    service.everywhere(lambda ready: reason in ready["problems"].get(f"model offers/{version}", ""))
    service.everywhere(partial(serves, "1"))
    assert refusals(service) == counted + 2
    answer = service.decide("swap-4")
    assert (answer["rung"], answer["model"]["version"]) == ("model", "1")
    assert service.get("/ready").status_code == 200


def test_broken_aliases_leave_every_model_where_it_is(swappable: Service) -> None:
    service = swappable
    path = service.home.bundles / DEFAULT_NAME / "aliases.json"
    before = service.get("/ready").json()["models"]
    good = path.read_text()
    path.write_text('{"champion": ')
    service.everywhere(lambda ready: "aliases of offers" in ready["problems"])
    assert service.get("/ready").json()["models"] == before
    path.write_text(good)
    service.everywhere(lambda ready: not ready["problems"])


def test_without_an_alias_there_is_no_model_and_the_prior_decides(swappable: Service) -> None:
    service = swappable
    path = service.home.bundles / DEFAULT_NAME / "aliases.json"
    path.write_text("{}")
    service.everywhere(lambda ready: "champion" not in ready["models"])
    answer = service.decide("swap-5")
    assert (answer["rung"], answer["model"]) == ("prior", None)
