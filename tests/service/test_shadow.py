"""A challenger scores what the champion has decided, after the answer: seen from outside, and its parts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from features.home import Home
from models.bundle import DEFAULT_NAME, write_alias
from service import metrics
from service.shadow import figures
from service.shadow.commands import shadow
from service.shadow.scoring import WAITING, Shadow, compare
from tests.service import running, shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.decisions.choose import Slate
    from tests.service.running import Service

DECISIONS = 30


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in which version 2 scores every decision of version 1, and version 1 under another number none."""
    home = Home(tmp_path_factory.mktemp("shadow") / "home")
    shop.write_catalog(home)
    shop.publish(home, "1")
    shop.publish(home, "2", alias="challenger")
    started = running.start(home, workers=1, environment={"KAIROS_SHADOW_SHARE": "1.0"})
    yield started
    running.stop(started)


def test_a_challenger_scores_what_the_champion_decided_and_both_are_told(
    shadowed: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service = shadowed
    service.track("s-1", "Product Viewed", product_id="o-3")
    running.wait_until(lambda: service.decide("s-1")["rung"] == "model")
    for number in range(DECISIONS):
        service.decide(f"s-{number}")
    service.decide("s-2", flags={"look": "challenger"})  # the challenger itself decided: nobody stands beside it

    def told() -> list[figures.Shadowed]:
        return figures.read(service.get("/metrics").text)

    running.wait_until(lambda: told() and told()[0].scored + told()[0].dropped >= DECISIONS)
    (found,) = told()
    assert (found.challenger, found.failed) == ("offers/2", 0)
    assert 0.0 <= found.low <= found.agreed <= found.high <= 1.0
    assert found.milliseconds > 0.0
    assert found.distance >= abs(found.propensity - found.champion) - 1e-9  # but for rounding
    shadow(home=service.home.root)
    assert "offers/2" in capsys.readouterr().out
    text = service.get("/metrics").text
    assert 'kairos_model_decisions_total{model="offers/1",rung="model"}' in text
    assert 'kairos_model_decisions_total{model="offers/2",rung="model"} 1.0' in text
    assert 'kairos_model_decision_seconds_count{model="offers/1"}' in text


def test_without_a_challenger_nothing_is_scored(shadowed: Service) -> None:
    write_alias(shadowed.home.bundles, DEFAULT_NAME, "challenger", None)
    shadowed.everywhere(lambda ready: "challenger" not in ready["models"])
    before = figures.read(shadowed.get("/metrics").text)
    for number in range(5):
        shadowed.decide(f"alone-{number}")
    assert figures.read(shadowed.get("/metrics").text) == before


def test_nothing_runs_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(figures.ShadowError, match="no `kairos up` runs on"):
        shadow(home=tmp_path_factory.mktemp("nobody"))


class Placement(msgspec.Struct):
    model: str = "champion"
    strategy: str = "value"


class Pool(msgspec.Struct):
    weight: Any


class Filled(msgspec.Struct):
    """Of a slate, what is scored again."""

    placement: Placement
    bundle: Any
    propensity: Any
    priority: Any
    value: Any
    pool: Pool
    legal: Any
    features: dict[str, Any]


class Version(msgspec.Struct):
    label: str
    scores: Any

    def propensities(self, features: dict[str, Any]) -> Any:
        return self.scores(features)


def filled(**more: Any) -> Any:
    propensity = np.array([0.1, 0.2, 0.3])
    value = np.array([1.0, 1.0, 1.0])
    fields: dict[str, Any] = {
        "placement": Placement(), "bundle": Version("offers/1", None), "propensity": propensity,
        "priority": propensity * value, "value": value, "pool": Pool(np.ones(3)),
        "legal": np.array([True, True, False]),
        "features": {"candidate__price": np.ones(3)},
    }  # fmt: skip
    return Filled(**(fields | more))


def test_both_are_compared_among_those_that_might_be_shown_by_the_placements_strategy() -> None:
    slate: Slate = filled()
    same = compare(slate, np.array([0.1, 0.3, 0.9]))
    assert (same.agreed, round(same.distance, 6), round(same.champion, 6)) == (True, round(0.7 / 3, 6), 0.2)
    assert not compare(slate, np.array([0.4, 0.3, 0.9])).agreed
    worth: Slate = filled(value=np.array([5.0, 1.0, 1.0]), priority=np.array([0.5, 0.2, 0.3]))
    assert compare(worth, np.array([0.1, 0.3, 0.3])).agreed
    by_chance: Slate = filled(placement=Placement(strategy="propensity"), value=np.array([5.0, 1.0, 1.0]))
    assert compare(by_chance, np.array([0.1, 0.3, 0.3])).agreed
    assert compare(filled(legal=np.zeros(3, bool)), np.array([0.4, 0.3, 0.9])).agreed


class Chosen(msgspec.Struct):
    slates: list[Any]


def count(outcome: str) -> float:
    return float(metrics.SHADOWED.labels("offers/busy", outcome)._value.get())


def test_a_decision_never_waits_for_a_challenger_that_is_behind() -> None:
    started, go = threading.Event(), threading.Event()

    def hang(features: dict[str, Any]) -> Any:
        started.set()
        assert go.wait(60)
        return np.ones(len(features["candidate__price"]))

    beside, chosen = Shadow(1.0), Chosen([filled()])
    models: Any = {"champion": None, "challenger": Version("offers/busy", hang)}
    beside.offer("first", chosen, models)  # type: ignore[arg-type]  # the part of it that is read
    assert started.wait(60)
    for number in range(WAITING + 10):
        beside.offer(str(number), chosen, models)  # type: ignore[arg-type]  # as above
    assert count("dropped") == 10
    go.set()
    beside.close()


def test_a_challenger_that_fails_is_counted_and_the_next_decision_is_scored() -> None:
    def fail(features: dict[str, Any]) -> Any:
        raise KeyError(next(iter(features)))

    beside, chosen, before = Shadow(1.0), Chosen([filled()]), count("failed")
    for number in range(2):
        beside.offer(str(number), chosen, {"challenger": Version("offers/busy", fail)})  # type: ignore[arg-type, dict-item]
    running.wait_until(lambda: count("failed") == before + 2)
    beside.close()


def test_the_sample_is_a_share_of_the_decisions() -> None:
    taken: list[Any] = []
    for share in (0.0, 0.25, 1.0):
        beside = Shadow(share)
        beside._put = lambda task: taken.append(task)  # type: ignore[method-assign]  # what comes, not what is done
        before = len(taken)
        for number in range(4000):
            beside.offer(f"d-{number}", Chosen([filled()]), {"challenger": Version("v", None)})  # type: ignore[arg-type, dict-item]
        assert abs((len(taken) - before) / 4000 - share) < 0.03
