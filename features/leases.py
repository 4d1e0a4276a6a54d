"""Who may write: a lease a partition for workers, and one that makes all workers wait for a replay."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from redis import RedisError

from features import fencing, stream
from features.fencing import LeaseLostError
from features.occupancy import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

LEASE_SECONDS = 6.0
RENEW_SECONDS = 1.0
MARGIN_SECONDS = 2.0
"""A lease with less left than this is renewed before the next write."""

# KEYS: the lease, the replay's. ARGV: owner, milliseconds. -> 1 when the lease is ours now.
# In one step with taking: whoever looks for a replay first may miss one that starts just then.
TAKE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
if not owner and KEYS[1] ~= KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Lease:
    """One key that one owner holds for a while.

    A lease that ran out counts as lost once, even when it is free: somebody else may have held it and written.
    While a replay holds its lease, no other is given to a new owner.
    """

    def __init__(self, redis: Redis, key: str, owner: str) -> None:
        self._key, self._owner = key, owner
        self._take: Any = redis.register_script(TAKE)
        self._renew: Any = redis.register_script(RENEW)
        self._release: Any = redis.register_script(RELEASE)
        self._until = 0.0

    def hold(self) -> bool:
        """Take it, or renew it if it was ours; whether it is."""
        asked = time.monotonic()
        script = self._renew if self._until else self._take
        held = bool(script(keys=[self._key, stream.REPLAY], args=[self._owner, int(LEASE_SECONDS * 1000)]))
        self._until = asked + LEASE_SECONDS if held else 0.0
        if not held:
            fencing.disarm(self._key)
        return held

    def keep(self) -> bool:
        """Renew when due; whether it is ours."""
        return time.monotonic() < self._until - LEASE_SECONDS + RENEW_SECONDS or self.hold()

    def check(self) -> None:
        """Raise LeaseLostError unless it is ours for long enough to finish a write.

        What this thread writes from then on, Redis refuses with the same error once the lease is lost after all.
        """
        if time.monotonic() > self._until - MARGIN_SECONDS and not (self._until and self.hold()):
            fencing.disarm(self._key)
            raise LeaseLostError(self._key)
        fencing.arm(self._key, self._owner)

    def release(self) -> None:
        fencing.disarm(self._key)
        self._release(keys=[self._key], args=[self._owner])
        self._until = 0.0


@contextlib.contextmanager
def hold_all_back(redis: Redis, partitions: int, owner: str, patience: float = 30.0) -> Iterator[Lease]:
    """Hold the replay's lease, renewed beside the work, with all workers kept away from their partitions.

    The work has to `check` the lease before it writes. Raises UnavailableError when another replay runs or a worker
    does not let go.
    """
    with hold(redis, stream.REPLAY, owner) as lease:
        _await_release(redis, partitions, patience)
        yield lease


@contextlib.contextmanager
def hold(redis: Redis, key: str, owner: str) -> Iterator[Lease]:
    """Hold a lease of a replay, renewed beside the work. Raises UnavailableError when another replay runs."""
    lease = Lease(redis, key, owner)
    if not lease.hold():
        raise UnavailableError("another replay or import is running on this Redis: wait until it has ended")
    over = threading.Event()
    renewal = threading.Thread(target=_renew, args=(lease, over), daemon=True)
    renewal.start()
    try:
        yield lease
    finally:
        over.set()
        renewal.join()
        lease.release()


def _renew(lease: Lease, over: threading.Event) -> None:
    while not over.wait(RENEW_SECONDS):
        with contextlib.suppress(RedisError):  # it may be back before the lease runs out
            if not lease.hold():
                return


def _await_release(redis: Redis, partitions: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while redis.exists(*[stream.lease_key(partition) for partition in range(partitions)]):
        if time.monotonic() > deadline:
            raise UnavailableError("a worker does not let go of its partitions: stop it, then try again")
        time.sleep(0.05)
