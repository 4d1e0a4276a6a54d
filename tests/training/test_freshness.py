"""Before training, what stands in streams comes into the archive."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from features import archive, embedded, stream
from features.events.schema import encode
from features.leases import hold_all_back
from features.replay import catch_up
from features.settings import Settings
from features.store import OnlineStore
from tests.training.archives import START, product, track
from training.freshness import flush
from training.labels import TrainingError

if TYPE_CHECKING:
    from features.home import Home


def append(redis: Redis, customer: str = "c-1") -> None:
    message = stream.Message("m-1", encode(track(customer, START, "Product Viewed", product(1))))
    keys, arguments = stream.append_arguments(0, [message], 0.0)
    redis.eval(stream.APPEND.text, len(keys), *keys, *arguments)


def archived(home: Home) -> int:
    return len(archive.read(home.events, ["customer"]))


def work_when_asked(settings: Settings) -> None:
    """What a worker does: wait for the wish, then process and archive."""
    assert settings.redis_url
    with Redis.from_url(settings.redis_url) as redis:
        assert redis.xread({stream.FLUSH: "0"}, block=30_000)
        with hold_all_back(redis, settings.partitions, "worker") as lease:
            catch_up(settings, redis, OnlineStore(settings.home, settings.redis_url), lease)


def test_a_worker_is_asked_and_waited_for(settings: Settings, home: Home) -> None:
    assert settings.redis_url
    worker = threading.Thread(target=work_when_asked, args=(settings,))
    with Redis.from_url(settings.redis_url) as redis:
        append(redis)
    worker.start()
    assert flush(settings) == "the worker archived its latest events"
    worker.join()
    assert archived(home) == 1
    assert flush(settings) == "the archive holds every event"


def test_a_worker_that_does_not_answer_is_named(settings: Settings) -> None:
    assert settings.redis_url
    with Redis.from_url(settings.redis_url) as redis:
        append(redis)
    with pytest.raises(TrainingError, match="the worker did not archive partitions 0 within 0 s"):
        flush(settings, patience=0.1)


def test_when_nothing_runs_the_streams_are_processed_here(home: Home) -> None:
    settings = Settings(home=home)
    server = embedded.start(home)
    with Redis.from_url(server.url) as redis:
        append(redis)
    embedded.stop(server)
    assert flush(settings) == "no worker runs: archived what stood in the streams"
    assert archived(home) == 1


def test_a_home_that_was_only_imported_into_is_taken_as_it_is(home: Home) -> None:
    assert flush(Settings(home=home)) == "nothing runs on this home: the archive as it is"
