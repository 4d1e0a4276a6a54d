"""Do events flow: who works, how far behind features and archive are, and how old an event is for a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from features import dead_letters, snapshots, stream
from features.streaming import changed_key
from service import canary
from service.doctor.findings import Finding, duration, judge, worst

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from redis import Redis

    from features.settings import Settings

BEHIND_SECONDS = (1.0, 60.0)
"""Age of the oldest event that is not in the features yet: a warning above the first, a problem above the second."""
ARCHIVE_PATIENCE = (3.0, 30.0)
"""The same of the archive, as multiples of what the settings ask for."""
SNAPSHOT_SECONDS = (10.0, 60.0)
"""Age of a snapshot that lacks changes."""
TYPICAL_SECONDS, RARE_SECONDS = 0.010, 0.100
"""The promise: p50 and p99 from event to decision. Above ten times that it is a problem."""
ENOUGH = 100
"""Measurements from which a p99 says anything."""
WINDOW_SECONDS = 600.0
STALE_SECONDS = 60.0
MILLION = 1e6


def looks(redis: Redis, settings: Settings, now: float) -> dict[str, Callable[[], Iterable[Finding]]]:
    """By the name of what is looked at; `now` in seconds since the epoch. Each raises RedisError if Redis goes away."""
    return {
        "worker": lambda: [_workers(redis, settings)],
        "lag": lambda: _lags(redis, settings, now),
        "snapshot": lambda: [_snapshot(redis, now)],
        "event to decision": lambda: [_freshness(redis, now)],
        "dead letters": lambda: [_dead_letters(redis)],
    }


def _read(redis: Redis, keys: list[str]) -> list[int]:
    found: Any = redis.mget(keys)
    return [int(value or 0) for value in found]


def _workers(redis: Redis, settings: Settings) -> Finding:
    numbers = range(settings.partitions)
    owners: Any = redis.mget([stream.lease_key(number) for number in numbers])
    free = [number for number, owner in zip(numbers, owners, strict=True) if owner is None]
    known = sorted({owner.decode() for owner in owners if owner is not None})
    figures = {"workers": known, "partitions": settings.partitions, "free": free}
    if redis.exists(stream.REPLAY):
        return Finding(
            check="worker",
            verdict="warning",
            found="waits for a replay or an import that is running",
            advice="features are as old as that is long; nothing is lost",
            figures=figures,
        )
    if free:
        return Finding(
            check="worker",
            verdict="problem",
            found=f"nobody works on partition{'s' * (len(free) > 1)} {', '.join(map(str, free))}",
            advice="start `kairos up` or `kairos worker`, and look at what it says: features and archive stand still",
            figures=figures,
        )
    found = f"{len(known)} alive, holding all {settings.partitions} partitions"
    return Finding(check="worker", verdict="ok", found=found, figures=figures)


def _lags(redis: Redis, settings: Settings, now: float) -> Iterator[Finding]:
    numbers = range(settings.partitions)
    lasts = _read(redis, [stream.last_key(number) for number in numbers])
    cursors = _read(redis, [stream.cursor_key(number) for number in numbers])
    archived = _read(redis, [stream.archived_key(number) for number in numbers])
    soon, late = (share * settings.archive_seconds for share in ARCHIVE_PATIENCE)
    for check, reached, bounds, advice in (
        (
            "features behind events",
            cursors,
            BEHIND_SECONDS,
            "wait if this is a burst; else look at the worker, or start another (`kairos worker`)",
        ),
        (
            "archive behind events",
            archived,
            (soon, late),
            "look at what the worker says, and at its disk; what is not archived is in Redis alone",
        ),
    ):
        behind = {
            str(number): _oldest(redis, number, until, now)
            for number, last, until in zip(numbers, lasts, reached, strict=True)
            if last > until
        }
        oldest = max(behind.values(), default=0.0)
        verdict = judge(oldest, *bounds)
        yield Finding(
            check=check,
            verdict=verdict,
            found=f"the oldest waits for {duration(oldest)}" if behind else "nothing waits",
            advice="" if verdict == "ok" else advice,
            figures={"oldest_seconds": oldest, "by_partition": behind},
        )


def _oldest(redis: Redis, number: int, until: int, now: float) -> float:
    """Age of the first event of a partition behind `until`, in seconds."""
    found: Any = redis.xrange(stream.events_key(number), min=f"({until}-0", count=1)
    return max(now - int(found[0][0].split(b"-")[0]) / MILLION, 0.0) if found else 0.0


def _snapshot(redis: Redis, now: float) -> Finding:
    payload: Any = redis.get(snapshots.HEAD)
    if payload is None:
        return Finding(check="snapshot", verdict="ok", found="none yet: no event has named a candidate")
    head = snapshots.decode_head(payload)
    age = max(now - head.time / MILLION, 0.0)
    # It is taken when something has changed, so that an old one is current where nothing happens.
    newer = any(_changed_since(redis, int(number), cursor) for number, cursor in head.cursors.items())
    verdict = judge(age, *SNAPSHOT_SECONDS) if newer else "ok"
    return Finding(
        check="snapshot",
        verdict=verdict,
        found=f"number {head.number}, {duration(age)} old",
        advice="" if verdict == "ok" else "look at what the worker says: candidates' features stand still",
        figures={"number": head.number, "age_seconds": age},
    )


def _changed_since(redis: Redis, number: int, cursor: int) -> bool:
    """Whether candidates of the partition have changed by events after `cursor`."""
    return bool(redis.zcount(changed_key(number), f"({cursor}", "+inf"))


def _freshness(redis: Redis, now: float) -> Finding:
    stored: Any = redis.lrange(canary.AGES, 0, -1)
    ages = [msgspec.msgpack.decode(payload, type=canary.Age) for payload in stored]
    recent = sorted(age.seconds for age in ages if age.time > (now - WINDOW_SECONDS) * MILLION)
    if not recent or now - ages[0].time / MILLION > STALE_SECONDS:
        return Finding(
            check="event to decision",
            verdict="warning",
            found="not measured" if not ages else f"last measured {duration(now - ages[0].time / MILLION)} ago",
            advice="the API measures once a second: see that it runs and reaches Redis",
        )
    typical, rare = recent[(len(recent) - 1) // 2], recent[-(-len(recent) * 99 // 100) - 1]
    verdicts = [judge(typical, TYPICAL_SECONDS, 10 * TYPICAL_SECONDS)]
    if len(recent) >= ENOUGH:
        verdicts.append(judge(rare, RARE_SECONDS, 10 * RARE_SECONDS))
    verdict = worst(verdicts)
    return Finding(
        check="event to decision",
        verdict=verdict,
        found=f"p50 {duration(typical)}, p99 {duration(rare)} of the last {len(recent)} measurements",
        advice=""
        if verdict == "ok"
        else f"the aim is {duration(TYPICAL_SECONDS)} and {duration(RARE_SECONDS)}: look at the lag, at the load, "
        "and at the cores that Redis, worker and API share",
        figures={"p50_seconds": typical, "p99_seconds": rare, "measurements": len(recent)},
    )


def _dead_letters(redis: Redis) -> Finding:
    waiting: Any = redis.xlen(dead_letters.STREAM)
    return Finding(
        check="dead letters",
        verdict="warning" if waiting else "ok",
        found=f"{waiting:,} events were not taken" if waiting else "none",
        advice="`kairos events rejected` lists them with reasons, `kairos events retry` sends them again"
        if waiting
        else "",
        figures={"waiting": waiting},
    )
