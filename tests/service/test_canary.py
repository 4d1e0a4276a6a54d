"""The canary measures freshness by real events all the time, and counts nowhere else."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from features.aggregates.declared import VIEWS
from features.aggregates.engine import Candidates, advance_candidates
from features.aggregates.rows import LAYOUTS, blank
from features.events.occurrences import Item, Occurrence, read
from features.events.schema import Track
from features.ids import digest
from features.reserved import CANARY
from features.settings import Settings
from service import canary
from service.canary import AGES, LEASE, Age, Canary
from service.decisions.store import DecisionStore
from tests.service.running import wait_until
from training import labels, rewards

if TYPE_CHECKING:
    from tests.service.running import Service


def ages(service: Service) -> list[Age]:
    with service.connect() as client:
        stored: Any = client.lrange(AGES, 0, -1)
    return [msgspec.msgpack.decode(payload, type=Age) for payload in stored]


def metric(service: Service, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(service.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return 0.0


def measured(service: Service) -> float:
    return metric(service, "kairos_event_to_decision_seconds_count")


def test_the_age_of_an_event_at_the_decision_is_measured_again_and_again(service: Service) -> None:
    before = measured(service)
    wait_until(lambda: measured(service) >= before + 2)
    latest = ages(service)
    assert len(latest) >= 2
    assert all(newer.time > older.time for newer, older in pairwise(latest))
    assert all(age.seconds > 0 for age in latest)
    assert service.features(CANARY)


def test_one_process_measures_at_a_time_and_another_takes_over(service: Service) -> None:
    async def measure_until_ours() -> Age:
        store = DecisionStore(Settings(home=service.home), service.redis_url)
        bird = Canary(Settings(home=service.home), service.redis_url, store)
        try:
            wait_until(lambda: measured(service))
            assert await bird.measure() is None  # the service has the role
            while (age := await bird.measure()) is None:
                with service.connect() as client:
                    client.delete(LEASE)
            before = measured(service)
            with service.connect() as client:
                held = client.get(LEASE)
            assert held is not None
            assert await bird.measure() is not None
            assert measured(service) <= before + 1  # at most one that the service had begun
            return age
        finally:
            await bird.close()
            await store.close()

    age = asyncio.run(measure_until_ours())
    wait_until(lambda: ages(service)[0].time > age.time)
    before = measured(service)
    wait_until(lambda: measured(service) > before)


def test_while_redis_hangs_the_failure_is_counted_and_afterwards_it_measures_again(service: Service) -> None:
    wait_until(lambda: ages(service))
    last, before = ages(service)[0].time, metric(service, "kairos_canary_total", outcome="unreachable")
    with service.frozen("redis"):
        wait_until(lambda: metric(service, "kairos_canary_total", outcome="unreachable") > before)
    wait_until(lambda: ages(service)[0].time > last)


def test_an_event_that_no_worker_takes_counts_as_old_as_the_patience(settings: Settings, redis_url: str) -> None:
    async def measure() -> Age | None:
        store = DecisionStore(settings, redis_url)
        bird = Canary(settings, redis_url, store, patience=0.2)
        try:
            return await bird.measure()
        finally:
            await bird.close()
            await store.close()

    age = asyncio.run(measure())
    assert age is not None
    assert age.seconds > 0.2


def test_neither_the_archive_nor_a_candidate_knows_of_it(service: Service) -> None:
    before = measured(service)
    wait_until(lambda: measured(service) > before)
    assert service.archived(CANARY) == []
    event = Occurrence(canary.EVENT, 1.0, (Item("o-1", digest("o-1"), digest("hats")),))
    assert advance_candidates(Candidates(), blank(LAYOUTS["customer"], CANARY), event, 1) == []
    assert advance_candidates(Candidates(), blank(LAYOUTS["customer"], "another"), event, 1)


def test_its_event_names_no_candidate_and_is_none_that_a_feature_or_a_label_is_declared_on() -> None:
    event = Track(message_id="m", customer=CANARY, time=1, received=1, event=canary.EVENT)
    occurrence = read(event)
    assert occurrence is not None
    assert (occurrence.items, occurrence.revenue) == ((), 0.0)
    declared = {name for view in VIEWS.values() for each in view for group in each.events for name in group}
    assert canary.EVENT not in declared
    assert canary.EVENT not in {labels.VIEWED, labels.ORDERED, rewards.EXPOSURE_EVENT, rewards.CLICK_EVENT}
