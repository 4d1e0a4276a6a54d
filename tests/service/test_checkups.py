"""What is known of the champions' health is kept fresh by the running service, off the way of requests."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from features.leases import Lease
from models import bundle
from service import checkups
from tests.service import running, shop
from tests.service.running import wait_until
from tests.training.test_health import live, save_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.home import Home
    from features.settings import Settings
    from tests.service.running import Service

WELL = 'kairos_model_health_state{model="offers",looked_at="offers/3"} 0\n'


@pytest.fixture
def watched(home: Home) -> Iterator[Service]:
    """A service that looks as often as it can, at a champion that has served for two weeks and was well an hour ago."""
    shop.write_catalog(home)
    save_model(home)
    live(home, drifted=True)
    home.health.mkdir()
    (home.health / "offers.prom").write_text(WELL)
    an_hour_ago = time.time() - 3600.0
    os.utime(home.health / "offers.prom", (an_hour_ago, an_hour_ago))
    started = running.start(home, 1, {"KAIROS_HEALTH_SECONDS": "0.5"})
    yield started
    running.stop(started)


def test_a_running_service_finds_out_how_its_champion_does(watched: Service) -> None:
    file = watched.home.health / "offers.prom"
    wait_until(lambda: file.read_text() != WELL, 180)
    families = {it.name: it for it in text_string_to_metric_families(watched.get("/metrics").text)}
    assert families["kairos_model_health_state"].samples[0].value == 2.0
    drifts = {it.labels["feature"]: it.value for it in families["kairos_model_psi"].samples}
    assert drifts["context__device"] > 0.25
    assert families["kairos_model_health_age_seconds"].samples[0].value < 60.0


def test_one_look_at_a_time_is_had_and_what_cannot_be_told_is_no_result(settings: Settings, redis_url: str) -> None:
    save_model(settings.home)
    looked: dict[str, checkups.Looked] = {}
    with Redis.from_url(redis_url) as redis:
        other, mine = (Lease(redis, checkups.LEASE, owner) for owner in ("other", "mine"))
        assert other.hold()
        checkups.look(settings.home, "offers", mine, threading.Event(), looked)
        assert not looked
        other.release()
        checkups.look(settings.home, "offers", mine, threading.Event(), looked)
        assert other.hold()
    assert looked["offers"].seconds > 0.0
    assert not settings.home.health.exists()


def test_a_look_that_is_to_stop_ends_at_once(settings: Settings, redis_url: str) -> None:
    save_model(settings.home)
    over = threading.Event()
    over.set()
    looked: dict[str, checkups.Looked] = {}
    with Redis.from_url(redis_url) as redis:
        checkups.look(settings.home, "offers", Lease(redis, checkups.LEASE, "mine"), over, looked)
    assert not settings.home.health.exists()
    with checkups.beside(settings, redis_url):
        pass


def test_models_are_looked_at_as_often_as_was_said_and_never_most_of_the_time(home: Home) -> None:
    save_model(home)
    start = time.time()
    assert checkups.due(home, "offers", 3600.0, start, None) == start + checkups.FIRST_SECONDS
    assert checkups.due(home, "offers", 60.0, start, None) == start + 60.0
    home.health.mkdir()
    (home.health / "offers.prom").touch()
    os.utime(home.health / "offers.prom", (start - 60.0, start - 60.0))
    assert checkups.due(home, "offers", 3600.0, start, None) == pytest.approx(start + 3540.0)
    quick, slow = (checkups.Looked(ended=start + 10.0, seconds=seconds) for seconds in (5.0, 600.0))
    assert checkups.due(home, "offers", 3600.0, start, quick) == start + 3610.0
    assert checkups.due(home, "offers", 3600.0, start, slow) == start + 12_010.0


def test_only_models_that_serve_are_looked_at(home: Home) -> None:
    assert checkups.champions(home) == []
    save_model(home)
    bundle.write_alias(home.bundles, "hats", "challenger", "1")
    (home.bundles / "broken").mkdir()
    (home.bundles / "broken" / "aliases.json").write_text("{")
    assert checkups.champions(home) == ["offers"]


def test_nobody_looks_where_that_was_switched_off(settings: Settings, redis_url: str) -> None:
    before = threading.active_count()
    with checkups.beside(msgspec.structs.replace(settings, health_seconds=0.0), redis_url):
        assert threading.active_count() == before
