"""What all tests share: a real Redis, a home folder, settings, and waiting for a condition."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import pytest
import redis

from features import embedded
from features.home import Home
from features.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")


class Until(Protocol):
    """Waits until the condition is true of something and gives that; fails the test when it never is."""

    def __call__(self, condition: Callable[[], T | None], seconds: float = 60.0) -> T: ...


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    """One embedded Redis for the whole run."""
    server = embedded.start(Home(tmp_path_factory.mktemp("redis")))
    yield server
    embedded.stop(server)


@pytest.fixture
def redis_url(redis_server: embedded.Server) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home folder."""
    root = tmp_path / "home"
    root.mkdir()
    return Home(root)


@pytest.fixture
def settings(home: Home, redis_url: str) -> Settings:
    """Settings of an empty deployment whose Redis runs."""
    return Settings(home=home, redis_url=redis_url)


@pytest.fixture
def until() -> Until:
    return wait_until


def wait_until(condition: Callable[[], T | None], seconds: float = 60.0) -> T:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not true after {seconds} s: {condition}")
        time.sleep(0.02)
    return result
