"""A store that is slow, or comes and goes: decisions are made in time all the same, and it is left alone meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest

from service.decisions.breaker import FAILURES
from service.decisions.pipeline import decide
from service.decisions.schema import AskedPlacement, DecisionRequest
from service.decisions.store import DecisionStore
from service.decisions.warming import warm_up
from service.live import Live
from tests.service.crowd import customer, filler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from features.settings import Settings

SLOW = 0.2
"""Seconds that an answer takes: four times the deadline."""
ASKED = DecisionRequest(customer_id="ada", placements=[AskedPlacement(id="grid")], deadline_ms=50)


class Proxy:
    """Stands before Redis, and gives its answers after a while."""

    def __init__(self, url: str) -> None:
        self._url, self.delay, self.asked = urlsplit(url), 0.0, 0
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield urlunsplit(self._url._replace(netloc=f":{self._url.password}@127.0.0.1:{port}"))
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, answers = await asyncio.open_connection(self._url.hostname, self._url.port), writer
        pumps = [asyncio.create_task(self._ask(reader, there[1])), asyncio.create_task(self._answer(there[0], answers))]
        self._tasks.update(pumps)
        await asyncio.gather(*pumps, return_exceptions=True)
        there[1].close()
        answers.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.asked += 1
            writer.write(data)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await asyncio.sleep(self.delay)
            writer.write(data)
        writer.close()


class Shop:
    """Decisions of one process over the proxy."""

    def __init__(self, live: Live, store: DecisionStore, settings: Settings) -> None:
        self._live, self._store, self._settings = live, store, settings

    async def rung(self) -> str:
        answer: dict[str, Any] = msgspec.json.decode(await decide(self._live, self._store, self._settings, ASKED))
        assert len(answer["placements"][0]["items"]) == 4
        return str(answer["rung"])

    async def comes_to(self, wanted: str) -> None:
        for _ in range(2000):
            if await self.rung() == wanted:
                return
            await asyncio.sleep(0.02)
        pytest.fail(f"never came to {wanted}")


@contextlib.asynccontextmanager
async def opened(settings: Settings, redis_url: str) -> AsyncIterator[tuple[Shop, Proxy]]:
    proxy = Proxy(redis_url)
    async with proxy.serving() as url:
        live, store = Live(settings, redis_url, warm_up), DecisionStore(settings, url)
        try:
            await live.refresh()
            shop = Shop(live, store, settings)
            await shop.comes_to("model")
            yield shop, proxy
        finally:
            await live.close()
            await store.close()


@pytest.fixture(autouse=True)
def filled(settings: Settings, redis_url: str) -> None:
    filler(settings, redis_url)(customer("ada", 1, 2))


def test_a_slow_store_lowers_the_rung_and_is_soon_left_alone(settings: Settings, redis_url: str) -> None:
    async def run() -> None:
        async with opened(settings, redis_url) as (shop, proxy):
            proxy.delay = SLOW
            assert {await shop.rung() for _ in range(3 * FAILURES)} == {"prior"}
            before = proxy.asked
            assert {await shop.rung() for _ in range(200)} == {"prior"}
            assert proxy.asked - before <= 20  # only now and then somebody tries
            proxy.delay = 0.0
            await shop.comes_to("model")

    asyncio.run(run())


def test_a_store_that_comes_and_goes_is_used_whenever_it_is_there(settings: Settings, redis_url: str) -> None:
    async def run() -> None:
        async with opened(settings, redis_url) as (shop, proxy):
            for _ in range(4):
                proxy.delay = SLOW
                await shop.comes_to("prior")
                proxy.delay = 0.0
                await shop.comes_to("model")

    asyncio.run(run())
