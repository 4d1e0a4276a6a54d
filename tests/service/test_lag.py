"""A process that cannot keep up, or whose model fails, answers from a lower rung instead of late or not at all."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from features import embedded
from features.events.schema import Decision, decode
from features.home import Home
from features.settings import load
from models.bundle import load as load_bundle
from models.bundle import save
from service.decisions.lag import PAUSE_SECONDS, Lag
from service.decisions.pipeline import decide
from service.decisions.schema import DecisionRequest
from service.decisions.store import DecisionStore
from tests.service import shop
from tests.service.test_choose import compiled, framed

if TYPE_CHECKING:
    from pathlib import Path


def test_lag_is_what_a_busy_loop_is_late_by() -> None:
    async def run() -> tuple[float, float]:
        lag = Lag()
        following = asyncio.create_task(lag.follow())
        await asyncio.sleep(PAUSE_SECONDS * 3)
        time.sleep(0.3)  # noqa: ASYNC251  # what this is about
        late = []
        for _ in range(10):
            await asyncio.sleep(0)
            late.append(lag.seconds)
        await asyncio.sleep(PAUSE_SECONDS * 20)
        following.cancel()
        return max(late), lag.seconds

    busy, calm = asyncio.run(run())
    assert busy > 0.2
    assert calm < busy


def test_what_has_waited_too_long_is_answered_from_a_lower_rung_and_logged(tmp_path: Path) -> None:
    settings = load({}, Home(tmp_path / "home").root)
    frame = framed(compiled(), 4, 4, 7)
    live: Any = SimpleNamespace(frame=frame, models={}, observe=lambda *_: None)
    asked = msgspec.convert({"customer_id": "c", "placements": [{"id": "calm"}], "deadline_ms": 1000}, DecisionRequest)

    async def run(url: str) -> list[Any]:
        store = DecisionStore(settings, url)
        answers = []
        for seconds in (0.0, 0.9, 0.0):
            store.lag.seconds = seconds
            await decide(live, store, settings, asked)
            answers.append(store.spill.waiting())
        await store.append_spilled()
        answers.append(store.spill.waiting())
        entries = await store.ask([("XRANGE", f"kairos:{{{p}}}:events", "-", "+") for p in range(8)], 5.0)
        await store.close()
        return [*answers, [decode(fields[1]) for found in entries for _, fields in found]]

    with embedded.reach(settings) as url:
        *waiting, logged = asyncio.run(run(url))
    assert [bool(count) for count in waiting] == [False, True, True, False]
    assert [isinstance(event, Decision) and event.readable for event in logged].count(False) == 1
    assert len(logged) == 3


def test_a_model_that_fails_in_scoring_lowers_the_rung_and_fails_no_decision(tmp_path: Path) -> None:
    settings = load({}, Home(tmp_path / "home").root)
    save(tmp_path / "bundle", shop.describe("1"), shop.grow(1))
    good = load_bundle(tmp_path / "bundle")
    encoder = msgspec.structs.replace(good.encoder, names=("a feature that nobody has",))
    broken = msgspec.structs.replace(good, encoder=encoder)
    frame = framed(compiled(), 4, 4, 7)
    asked = msgspec.convert({"customer_id": "c", "placements": [{"id": "calm"}], "deadline_ms": 1000}, DecisionRequest)

    async def run(url: str) -> list[dict[str, Any]]:
        store = DecisionStore(settings, url)
        told = []
        for bundle in (good, broken):
            live: Any = SimpleNamespace(frame=frame, models={"champion": bundle}, observe=lambda *_: None)
            told.append(json.loads(await decide(live, store, settings, asked)))
        await store.close()
        return told

    with embedded.reach(settings) as url:
        first, second = asyncio.run(run(url))
    assert (first["rung"], second["rung"]) == ("model", "prior")
    assert second["model"] is None
    assert second["placements"][0]["items"]
