"""All checks, each on its own: what fails while it looks is a finding too, and the others go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from redis import Redis
from redis.exceptions import RedisError

from features import embedded
from features.connection import ONCE
from features.occupancy import read_run
from service.doctor import files, flow
from service.doctor.door import check_api
from service.doctor.findings import Finding
from service.doctor.server import check_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from features.home import Home
    from features.settings import Settings

ANSWER_SECONDS = 5.0
START = "start `kairos up`, or set KAIROS_REDIS_URL if Redis runs elsewhere"


def examine(settings: Settings, api_url: str | None) -> list[Finding]:
    """Look at everything that this home has and reaches; nothing is started or changed."""
    now = time.time()
    found = [*_examine_redis(settings, now), *_attempt("api", lambda: [_examine_api(settings, api_url)])]
    for name, look in files.looks(settings.home, now).items():
        found += _attempt(name, look)
    return found


def _examine_redis(settings: Settings, now: float) -> Iterator[Finding]:
    url = embedded.running(settings)
    if url is None:
        yield Finding(check="redis", verdict="warning", found="nothing runs on this home", advice=START)
        return
    reason = embedded.probe(url)
    if reason is not None:
        yield Finding(
            check="redis",
            verdict="problem",
            found=f"does not answer: {reason}",
            advice="see that it runs and that its address is right; decisions fall to rung `prior`, events get 503",
        )
        return
    with Redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, retry=ONCE) as redis:
        yield from _attempt("redis", lambda: check_server(redis))
        for name, look in flow.looks(redis, settings, now).items():
            yield from _attempt(name, look)
        yield from _attempt("memory", lambda: _examine_memory(redis, settings.home))


def _examine_memory(redis: Redis, home: Home) -> Iterable[Finding]:
    from service.doctor.memory import check_memory  # it imports Feast, which takes seconds

    return check_memory(redis, home)


def _examine_api(settings: Settings, url: str | None) -> Finding:
    run = read_run(settings.home)
    url = url or (run.api_url if run else None)
    if url is None:
        return Finding(
            check="api",
            verdict="warning",
            found="no `kairos up` runs on this home",
            advice="start it, or name an API that runs elsewhere with --api",
        )
    return check_api(url)


def _attempt(part: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except RedisError as error:
        yield Finding(check=part, verdict="problem", found=f"Redis went away: {error}", advice="try again")
    except Exception as error:  # whatever a look trips over: the others are wanted all the more
        yield Finding(
            check=part,
            verdict="problem",
            found=f"could not be looked at: {type(error).__name__}: {error}",
            advice="this is a fault in Kairos or a file of another program's: please report it",
        )
