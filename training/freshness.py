"""What the archive lacks before training, events that stand in streams only: asks a running worker, or stands in."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from redis import Redis

from features import embedded, stream
from training.labels import TrainingError

if TYPE_CHECKING:
    from features.settings import Settings

PATIENCE = 60.0
POLL = 0.05


def flush(settings: Settings, patience: float = PATIENCE) -> str:
    """Bring what was acknowledged until now into the archive; what was done, in words.

    Raises TrainingError when a worker should run but does not write within `patience` seconds.
    """
    if url := embedded.running(settings):
        with Redis.from_url(url, socket_timeout=30) as redis:
            return _ask_worker(settings, redis, patience)
    if settings.home.redis.exists():
        return _stand_in(settings)
    return "nothing runs on this home: the archive as it is"


def _ask_worker(settings: Settings, redis: Redis, patience: float) -> str:
    last = {number: _read(redis, stream.last_key(number)) for number in range(settings.partitions)}
    if all(_read(redis, stream.archived_key(number)) >= target for number, target in last.items()):
        return "the archive holds every event"
    redis.xadd(stream.FLUSH, {"by": "train"}, maxlen=1000)
    deadline = time.monotonic() + patience
    while waiting := [number for number, target in last.items() if _read(redis, stream.archived_key(number)) < target]:
        if time.monotonic() > deadline:
            raise TrainingError(
                f"the worker did not archive partitions {', '.join(map(str, waiting))} within {patience:.0f} s: "
                "see that `kairos up` or `kairos worker` runs, then try again"
            )
        time.sleep(POLL)
    return "the worker archived its latest events"


def _stand_in(settings: Settings) -> str:
    """Nobody runs, but Redis' data is there: process the streams' ends as a worker would."""
    from features.leases import hold_all_back
    from features.replay import catch_up
    from features.store import OnlineStore

    with (
        embedded.reach(settings) as url,
        Redis.from_url(url, socket_timeout=30) as redis,
        hold_all_back(redis, settings.partitions, f"train-{uuid.uuid4()}") as lease,
    ):
        catch_up(settings, redis, OnlineStore(settings.home, url), lease)
    return "no worker runs: archived what stood in the streams"


def _read(redis: Redis, key: str) -> int:
    value: Any = redis.get(key)
    return int(value or 0)
