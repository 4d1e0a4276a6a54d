"""What a decision leaves behind: reserved and logged together or not at all, and never logged as what it was not."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from features import embedded, ledger
from features.events.schema import Decision, decode
from features.home import Home
from features.settings import load
from service.catalog.compiled import compile_catalog
from service.catalog.schema import Catalog
from service.decisions.pipeline import decide
from service.decisions.schema import DecisionRequest
from service.decisions.store import DecisionStore, UnreachableError
from tests.service.test_choose import framed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

CATALOG = {
    "placements": [{"id": "stall", "limit": 1, "default": "bread", "pinned": ["cake"]}],
    "candidates": [{"id": "bread"}, {"id": "cake"}],
    "caps": [{"id": "cake", "per": ["customer"], "limit": 1, "period": "1d", "scope": {"candidates": ["cake"]}}],
}


class Deaf(DecisionStore):
    """Redis does what it is asked to, and its answer is lost on the way."""

    async def reserve_and_append(self, *asked: Any) -> Sequence[Any]:
        await super().reserve_and_append(*asked)
        raise UnreachableError("append")


class Desk:
    """Decisions of one customer by one store, and what Redis holds afterwards."""

    def __init__(self, home: Path, url: str, kind: type[DecisionStore]) -> None:
        self.settings = load({}, Home(home).root)
        self.store = kind(self.settings, url)
        catalog = compile_catalog(Catalog.model_validate(CATALOG), "1")
        self._live: Any = SimpleNamespace(frame=framed(catalog), models={}, observe=lambda *_: None)

    async def __aenter__(self) -> Desk:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    async def decide(self, **asked: Any) -> tuple[str, str]:
        """(the decision's id, what is shown)"""
        request = {"customer_id": "c", "placements": [{"id": "stall"}], "deadline_ms": 5000, **asked}
        body = await decide(self._live, self.store, self.settings, msgspec.convert(request, DecisionRequest))
        told = json.loads(body)
        return told["decision_id"], told["placements"][0]["items"][0]["id"]

    async def logged(self) -> dict[str, str]:
        """Id -> what was shown, of the decisions in the streams; what was spilled is appended first."""
        await self.store.append_spilled()
        keys = [f"kairos:{{{number}}}:events" for number in range(self.settings.partitions)]
        streams = await self.store.ask([("XRANGE", key, "-", "+") for key in keys], 5.0)
        events = [decode(fields[1]) for entries in streams for _, fields in entries]
        return {one.decision_id or "": one.placements[0].items[0].id for one in events if isinstance(one, Decision)}

    async def contacts(self) -> int:
        [fields] = await self.store.ask([("HKEYS", ledger.customer_key("c"))], 5.0)
        return len(fields) - (b"revision" in fields)

    async def scripts(self) -> int:
        """How many scripts Redis was asked to run."""
        [stats] = await self.store.ask([("INFO", "commandstats")], 5.0)
        lines = [line for line in stats.decode().splitlines() if line.startswith("cmdstat_evalsha:")]
        return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[type[DecisionStore]], Desk]]:
    with embedded.reach(load({}, Home(tmp_path / "home").root)) as url:
        yield lambda kind: Desk(tmp_path / "home", url, kind)


def test_what_is_granted_is_logged_in_the_same_round_trip(opened: Callable[[type[DecisionStore]], Desk]) -> None:
    async def run() -> tuple[Any, ...]:
        async with opened(DecisionStore) as desk:
            await desk.decide(customer_id="another")  # Redis learns the script
            before = await desk.scripts()
            shown = [await desk.decide()]
            spent = await desk.scripts() - before
            shown += [await desk.decide()]
            return shown, spent, await desk.logged(), await desk.contacts()

    shown, spent, logged, contacts = asyncio.run(run())
    assert [what for _, what in shown] == ["cake", "bread"]
    assert spent == 1
    assert set(shown) <= set(logged.items())
    assert contacts == 1


def test_what_is_lost_to_another_decision_is_not_logged(opened: Callable[[type[DecisionStore]], Desk]) -> None:
    async def run() -> tuple[Any, ...]:
        async with opened(DecisionStore) as desk:
            shown = await asyncio.gather(*[desk.decide() for _ in range(6)])
            return shown, await desk.logged(), await desk.contacts()

    shown, logged, contacts = asyncio.run(run())
    assert sorted(what for _, what in shown) == ["bread"] * 5 + ["cake"]
    assert logged == dict(shown)
    assert contacts == 1


def test_a_decision_of_which_nobody_knows_whether_it_is_logged_is_not_served(
    opened: Callable[[type[DecisionStore]], Desk],
) -> None:
    async def run() -> tuple[Any, ...]:
        async with opened(Deaf) as desk:
            served, shown = await desk.decide()
            return served, shown, await desk.logged()

    served, shown, logged = asyncio.run(run())
    assert shown == "bread"  # the cap could not be told
    assert logged.pop(served) == "bread"
    assert list(logged.values()) == ["cake"]  # under an id that nobody was given


def test_with_inline_events_or_an_id_of_the_callers_the_reservation_comes_first(
    opened: Callable[[type[DecisionStore]], Desk],
) -> None:
    viewed = {"type": "track", "event": "Product Viewed", "properties": {"product_id": "cake"}}

    async def run() -> tuple[Any, ...]:
        async with opened(Deaf) as desk:  # it would not hear of what is reserved and logged together
            shown = [
                await desk.decide(customer_id="a", events=[viewed]),
                await desk.decide(customer_id="b", decision_id="mine"),
            ]
            return shown, await desk.logged()

    shown, logged = asyncio.run(run())
    assert [what for _, what in shown] == ["cake", "cake"]
    assert logged == dict(shown)
