"""Who may write: a lease a partition for workers, and one that makes all workers wait for a replay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from features import stream
from features.occupancy import UnavailableError
from features.streaming import LeaseLostError

if TYPE_CHECKING:
    from redis import Redis

LEASE_SECONDS = 6.0
RENEW_SECONDS = 1.0
MARGIN_SECONDS = 2.0
"""A lease with less left than this is renewed before the next write."""

# Renew, or take when free: 1 when the lease is ours now.
HOLD = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Lease:
    """One key that one owner holds for a while. `hold` takes or renews it."""

    def __init__(self, redis: Redis, key: str, owner: str) -> None:
        self._key, self._owner = key, owner
        self._hold: Any = redis.register_script(HOLD)
        self._release: Any = redis.register_script(RELEASE)
        self._until = 0.0

    def hold(self) -> bool:
        asked = time.monotonic()
        held = bool(self._hold(keys=[self._key], args=[self._owner, int(LEASE_SECONDS * 1000)]))
        self._until = asked + LEASE_SECONDS if held else 0.0
        return held

    def keep(self) -> bool:
        """Renew when due; whether it is ours."""
        return time.monotonic() < self._until - LEASE_SECONDS + RENEW_SECONDS or self.hold()

    def check(self) -> None:
        """Raise LeaseLostError unless it is ours for long enough to finish a write."""
        if time.monotonic() > self._until - MARGIN_SECONDS and not self.hold():
            raise LeaseLostError(self._key)

    def release(self) -> None:
        self._release(keys=[self._key], args=[self._owner])
        self._until = 0.0


def hold_all_back(redis: Redis, lease: Lease, partitions: int, patience: float = 30.0) -> None:
    """Take the replay's lease and wait until no worker owns a partition. Raises UnavailableError."""
    if not lease.hold():
        raise UnavailableError("another replay or import is running on this Redis: wait until it has ended")
    deadline = time.monotonic() + patience
    while redis.exists(*[stream.lease_key(partition) for partition in range(partitions)]):
        if time.monotonic() > deadline:
            lease.release()
            raise UnavailableError("a worker does not let go of its partitions: stop it, then try again")
        lease.keep()
        time.sleep(0.05)
