"""Real workers, killed and frozen at random moments under load: nothing is lost, doubled or out of order."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING

from redis import Redis

from features import leases
from tests.conftest import wait_until
from tests.e2e import turmoil

if TYPE_CHECKING:
    from features.home import Home

STRIKES = 30
HASTE = 10.0
FREEZE = 1.3 * leases.LEASE_SECONDS / HASTE


def test_workers_killed_and_frozen_past_their_leases_lose_and_double_nothing(home: Home, redis_url: str) -> None:
    seed = int(os.environ.get("KAIROS_TEST_SEED", "1"))
    strikes = int(os.environ.get("KAIROS_TEST_STRIKES", STRIKES))
    chance = random.Random(seed)
    events = turmoil.crowd(seed, 100 * strikes)
    over = threading.Event()
    left = list(events)

    def send() -> None:
        with Redis.from_url(redis_url) as client:
            while left:
                size = len(left) if over.is_set() else random.Random(len(left)).randrange(1, 8)
                turmoil.send(client, left[:size])
                del left[:size]
                time.sleep(0.04)

    with Redis.from_url(redis_url) as redis, turmoil.working(home, redis_url, HASTE) as check:
        sender = threading.Thread(target=send)
        sender.start()
        try:
            for _ in range(strikes):
                time.sleep(chance.uniform(0.0, 0.5))
                turmoil.strike(redis, chance, FREEZE)
                check()
        finally:
            over.set()
            sender.join()
        turmoil.await_end(redis)
    with Redis.from_url(redis_url) as redis:
        at = turmoil.now() / 1e6
        assert turmoil.find_wrong_files(home, events) == []
        assert turmoil.find_wrong_customers(home, redis_url, events, at) == []
        assert turmoil.find_wrong_candidates(redis, events, at) == []


def test_another_worker_goes_on_with_a_dead_ones_partitions_within_ten_seconds(home: Home, redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis, turmoil.working(home, redis_url, 1.0) as check:
        wait_until(lambda: all(turmoil.owner_of(redis, number) for number in range(4)))
        pid = turmoil.owner_of(redis, 0)
        assert pid
        turmoil.send(redis, turmoil.crowd(1, 40))
        os.kill(pid, signal.SIGSTOP)  # unlike a killed one, it is not started again
        wait_until(lambda: turmoil.is_applied(redis), 10.0)
        os.kill(pid, signal.SIGCONT)
        check()
