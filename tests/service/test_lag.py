"""A process that cannot keep up says so to itself, and answers from a lower rung instead of late."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from features import embedded
from features.events.schema import Decision, decode
from features.home import Home
from features.settings import load
from service.decisions.lag import PAUSE_SECONDS, Lag
from service.decisions.pipeline import decide
from service.decisions.schema import DecisionRequest
from service.decisions.store import DecisionStore
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
