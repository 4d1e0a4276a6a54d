"""Workers that are killed and frozen while people click, and what must hold in the end: the oracle's features, each
event in the archive once, and in order.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from features import archive, snapshots, stream
from features.aggregates.declared import TOTAL
from features.events.schema import Alias, Event, Identify, decode, encode
from features.ids import digest
from features.occupancy import is_alive
from features.store import OnlineStore
from features.streaming import candidates_key, load_row, parse_field
from tests.conftest import wait_until
from tests.features.behaviour import PRODUCTS, PROMOTIONS, behave
from tests.features.oracle import Features, Oracle, approximately, close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

    from features.home import Home

PARTITIONS = 4
KNOWN = [f"known-{number}" for number in range(12)]
DEVICES = [f"device-{number}" for number in range(24)]
STRANGERS = [f"stranger-{number}" for number in range(24)]
IDS = [*KNOWN, *DEVICES, *STRANGERS]
OWNERS = {device: KNOWN[number % len(KNOWN)] for number, device in enumerate(DEVICES)} | {"known-1": "known-0"}


def now() -> int:
    return time.time_ns() // 1000


def root(customer: str) -> str:
    while customer in OWNERS:
        customer = OWNERS[customer]
    return customer


def crowd(seed: int, size: int) -> list[Event]:
    """What everybody does, in the order in which it arrives; each link is told twice, somewhere in between."""
    chance = random.Random(seed)
    events = [
        msgspec.structs.replace(event, customer=chance.choice(IDS) if event.customer else "")
        for event in behave(seed, size, now(), late=0.1)
    ]
    for number, (customer, owner) in enumerate([*OWNERS.items()] * 2):
        place = chance.randrange(len(events))
        at = events[place].received
        common: dict[str, Any] = {"message_id": f"m-link-{number}", "customer": customer, "user_id": owner}
        common |= {"time": at, "received": at}
        said = Alias(previous_id=customer, **common) if number % 3 else Identify(anonymous_id=customer, **common)
        events.insert(place, said)
    return events


def send(redis: Redis, events: list[Event]) -> None:
    """Append events in their order."""
    by_partition: dict[int, list[stream.Message]] = {}
    for event in events:
        number = stream.partition_of(event.customer, PARTITIONS)
        by_partition.setdefault(number, []).append(stream.Message(event.message_id, encode(event)))
    for number, messages in by_partition.items():
        assert all(stream.append(redis, number, messages, time.time()))


@contextlib.contextmanager
def working(home: Home, redis_url: str, haste: float) -> Iterator[Callable[[], None]]:
    """Two workers; yields what checks that they are well, and waits until they have ended."""
    script = Path(__file__).with_name("workers.py")
    command = [sys.executable, str(script), str(home.root), redis_url, "2", str(haste)]
    with home.root.with_suffix(".workers").open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said)

    def check() -> None:
        assert process.poll() is None, home.root.with_suffix(".workers").read_text()

    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", home.root.with_suffix(".workers").read_text()
        yield check
        process.communicate(timeout=90)
        assert process.returncode == 0, home.root.with_suffix(".workers").read_text()
    finally:
        process.kill()
        process.communicate()


def owner_of(redis: Redis, partition: int) -> int | None:
    """Process id of the living worker that has the partition."""
    found: Any = redis.get(stream.lease_key(partition))
    pid = int(found.decode().rsplit("-", 2)[1]) if found else None
    return pid if pid and is_alive(pid) else None


def strike(redis: Redis, chance: random.Random, freeze: float) -> None:
    """Kill a worker that owns something, or freeze it for so many seconds."""
    sign = chance.choice([signal.SIGKILL, signal.SIGSTOP])
    pid = wait_until(lambda: _hit(owner_of(redis, chance.randrange(PARTITIONS)), sign))
    if sign == signal.SIGSTOP:
        time.sleep(freeze)
        _hit(pid, signal.SIGCONT)  # it may have been about to end


def _hit(pid: int | None, sign: signal.Signals) -> int | None:
    """The process, if it was still there."""
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, sign)
            return pid
    return None


def await_end(redis: Redis) -> None:
    """Until all that was sent, and what it led to, is in features, archive and a snapshot."""

    def ended() -> bool:
        redis.xadd(stream.FLUSH, {"by": "test"}, maxlen=100)
        return is_applied(redis) and _read(redis, stream.archived_key) == _read(redis, stream.last_key)

    wait_until(lambda: ended() and _is_in_snapshot(redis), 120)
    wait_until(lambda: ended() and _is_in_snapshot(redis), 120)  # what was handed on meanwhile


def _is_in_snapshot(redis: Redis) -> bool:
    payload: Any = redis.get(snapshots.HEAD)
    applied: Any = [redis.hget(candidates_key(number), "applied") for number in range(PARTITIONS)]
    taken = snapshots.decode_head(payload).cursors if payload else {}
    return all(taken.get(str(number), 0) == int(last or 0) for number, last in enumerate(applied))


def is_applied(redis: Redis) -> bool:
    """Whether all that came is in the features."""
    return _read(redis, stream.cursor_key) == _read(redis, stream.last_key)


def _read(redis: Redis, key: Callable[[int], str]) -> list[int]:
    found: Any = redis.mget([key(number) for number in range(PARTITIONS)])
    return [int(value or 0) for value in found]


def unsettled(features: Features) -> Features:
    """All but how many events lie between: of two merged histories nobody knows how they interlock."""
    return {name: value for name, value in features.items() if not name.endswith("_since")}


def find_wrong_customers(home: Home, redis_url: str, events: list[Event], at: float) -> list[str]:
    """Those whose features are not what they would be, had each event been sent for who it turned out to be of."""
    oracle = Oracle([msgspec.structs.replace(event, customer=root(event.customer)) for event in events])
    rows = OnlineStore(home, redis_url).load_customers(IDS)
    wrong = []
    for number, customer in enumerate(IDS):
        candidate = [*PRODUCTS, *PROMOTIONS][number % 17]
        found = unsettled(close("customer", rows[customer], at, candidate, "hats"))
        expected = unsettled(oracle.customer(customer, at, candidate, "hats"))
        if rows[customer].owner != OWNERS.get(customer, "") or found != approximately(expected):
            wrong.append(f"{customer} (owner {rows[customer].owner!r}): {_differing(found, expected)}")
    return wrong


def find_wrong_candidates(redis: Redis, events: list[Event], at: float) -> list[str]:
    """Those of the last snapshot whose features are not the oracle's."""
    oracle = Oracle(events)
    found: Any = redis.hgetall(snapshots.ROWS)
    rows = {key: load_row(key[0], row) for field, row in found.items() if (key := parse_field(field))}
    wrong = []
    for candidate in [TOTAL, "p-1", "p-2", "o-1"]:
        closed = close("candidate", rows.get(("candidate", digest(candidate))), at)
        expected = oracle.candidate(candidate, at)
        if closed != approximately(expected):
            wrong.append(f"{candidate}: {_differing(closed, expected)}")
    return wrong


def _differing(found: Features, expected: Features) -> dict[str, tuple[float, float]]:
    """What is, and what should be."""
    return {
        name: (value, expected[name])
        for name, value in found.items()
        if {name: value} != approximately({name: expected[name]})
    }


def find_wrong_files(home: Home, events: list[Event]) -> list[str]:
    """Events that the archive lacks, has twice, or has in another order than they arrived in.

    Order is that of the events of one id in one partition: those that were handed on arrive anew in that of the owner,
    and what joins ids is not handed on.
    """
    table = archive.read(home.archive, ["partition", "payload"])
    rows = zip(table["partition"].to_pylist(), map(decode, table["payload"].to_pylist()), strict=True)
    kept = [(partition, event) for partition, event in rows if event.message_id.startswith("m-")]
    names = [event.message_id for _, event in kept]
    sent = [event.message_id for event in events]
    lost, doubled = sorted(set(sent) - set(names)), sorted(name for name, times in Counter(names).items() if times > 1)
    wrong = [f"lost: {lost}"] * bool(lost) + [f"doubled: {doubled}"] * bool(doubled)
    place = {name: at for at, name in enumerate(sent)}
    last: dict[tuple[int, str], int] = {}
    for partition, event in kept:
        if event.message_id.startswith("m-link"):
            continue
        stands = partition, event.via[0][0] if event.via else event.customer  # the id that it came for
        if last.get(stands, -1) > place[event.message_id]:
            wrong.append(f"out of order: {event.message_id} of {stands}")
        last[stands] = max(last.get(stands, -1), place[event.message_id])
    return wrong
