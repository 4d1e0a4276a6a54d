"""The line to Redis: many requests at once over one connection, and what becomes of them when it breaks."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import ResponseError

from features import embedded
from features.connection import Line, Script
from features.home import Home
from features.settings import load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    settings = load({}, Home(tmp_path / "home").root)
    with embedded.reach(settings) as address:
        yield address


def within(url: str, work: Callable[[Line], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        line = Line(url)
        try:
            return await work(line)
        finally:
            await line.close()

    return asyncio.run(run())


def clients(url: str) -> int:
    """Connections to Redis, without the one that asks."""
    with Redis.from_url(url) as redis:
        return len(redis.client_list()) - 1


def server(url: str) -> int:
    with Redis.from_url(url) as redis:
        return int(redis.info("server")["process_id"])


def test_concurrent_requests_get_their_own_answers_over_one_connection(url: str) -> None:
    async def work(line: Line) -> Any:
        asked = [line.ask_all([("SET", f"k{at}", at), ("GET", f"k{at}")]) for at in range(200)]
        return await asyncio.gather(*asked), clients(url)

    answers, connections = within(url, work)
    assert answers == [[b"OK", str(at).encode()] for at in range(200)]
    assert connections == 1


def test_a_refused_command_fails_alone(url: str) -> None:
    async def work(line: Line) -> Any:
        asked = [line.ask("SET", "a", 1), line.ask_all([("GET", "a"), ("LPUSH", "a", 1)]), line.ask("GET", "a")]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, second, third = within(url, work)
    assert (first, third) == (b"OK", b"1")
    assert isinstance(second, ResponseError)


def test_a_script_runs_whether_redis_knows_it_or_not(url: str) -> None:
    script = Script("return {KEYS[1], ARGV[1]}")

    async def work(line: Line) -> Any:
        return [await line.run(script, ["k"], ["v"]) for _ in range(2)]

    assert within(url, work) == [[b"k", b"v"]] * 2


def test_a_script_runs_behind_another_where_that_says_so(url: str) -> None:
    first = Script("return {redis.call('INCR', KEYS[1]), ARGV[1]}")
    both = first.then(Script("return {redis.call('INCRBY', KEYS[1], ARGV[2]), ARGV[1]}"), "answer[1] < 2")

    async def work(line: Line) -> Any:
        return [await line.run(both, ["a", "b"], [1, 1, "x", "y", "5"]) for _ in range(2)]

    assert within(url, work) == [[[1, b"x"], [5, b"y"]], [[2, b"x"]]]


def test_patience_ends_and_the_line_goes_on(url: str) -> None:
    async def work(line: Line) -> Any:
        await line.ask("PING")
        os.kill(process := server(url), signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                await line.ask("SET", "a", 1, seconds=0.05)
        finally:
            os.kill(process, signal.SIGCONT)
        return await line.ask("PING", seconds=5.0), clients(url)

    assert within(url, work) == (b"PONG", 1)


def test_a_connection_that_was_cut_is_replaced_unnoticed(url: str) -> None:
    async def work(line: Line) -> Any:
        await line.ask("SET", "a", 1)
        with Redis.from_url(url) as redis:
            for client in redis.client_list():
                if client["cmd"] == "set":
                    redis.client_kill(client["addr"])
        return await line.ask("GET", "a")

    assert within(url, work) == b"1"


def test_without_redis_every_request_fails_at_once(url: str) -> None:
    async def work(line: Line) -> Any:
        await line.ask("PING")
        with Redis.from_url(url) as redis:
            redis.shutdown(nosave=True)
        return await asyncio.gather(*[line.ask("PING") for _ in range(20)], return_exceptions=True)

    assert {type(error) for error in within(url, work)} == {LostError}


def test_who_loses_patience_with_a_silent_redis_leaves_those_who_wait_alone(url: str) -> None:
    process = server(url)

    async def work(line: Line) -> Any:
        await line.ask("SET", "a", 1)
        os.kill(process, signal.SIGSTOP)
        try:
            patient = asyncio.create_task(line.ask("GET", "a"))
            await asyncio.sleep(0)  # it has been sent
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await line.ask("SET", "a", 2)
            # Whoever asks next cannot know whether the other end is still there, and tries anew.
            later = asyncio.create_task(line.ask("GET", "a"))
            await asyncio.sleep(0.05)
        finally:
            os.kill(process, signal.SIGCONT)
        return await asyncio.gather(patient, later)

    answers = within(url, work)
    assert answers[0] == b"1"
    assert answers[1] in (b"1", b"2")
    assert clients(url) == 0


def test_an_impatient_request_costs_no_connection_while_redis_answers_others(url: str) -> None:
    async def work(line: Line) -> Any:
        await line.ask("CONFIG", "RESETSTAT")
        for at in range(30):
            impatient = asyncio.create_task(line.ask("GET", "a"))
            other = asyncio.create_task(line.ask("SET", "a", at))
            await asyncio.sleep(0)
            await other
            impatient.cancel()
        return await line.ask("GET", "a")

    assert within(url, work) == b"29"
    with Redis.from_url(url) as redis:
        assert redis.info("stats")["total_connections_received"] == 1  # this one


def test_the_line_serves_one_event_loop_after_another(url: str) -> None:
    line = Line(url)

    async def run() -> Any:
        answer = await line.ask("PING")
        await line.close()
        return answer

    assert [asyncio.run(run()) for _ in range(3)] == [b"PONG"] * 3
