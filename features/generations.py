"""Generations of the online store: which one serves, and what a replay that builds the next one leaves in Redis.

A generation is a project of Feast's, so that every key of it is its own. Readers read POINTER behind what they want, in
the same round trip: while it says what they took it for, nothing of what they read had been deleted. It moves in one
script, together with all that is swapped with it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from features import stream
from features.ids import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from redis import Redis

PROJECT = "kairos"
REBUILD = "kairos:rebuild"
"""Held by a running replay from beginning to end: streams are not trimmed meanwhile, as it reads them too."""
POINTER = "kairos:generation"
"""Number of the generation that serves; none is 0."""
COUNTER = "kairos:generation:last"
"""The last number given out: none is used again, as a replay that was taken for dead may still write."""
LEFT = "kairos:generation:left"
"""Numbers of generations of which keys may stand beside those that serve."""
REPLAYED = "kairos:replayed"
"""Which imports, under which declarations, the generation that serves has in it."""
ERASED = "kairos:erased"
"""Fingerprints of erased ids by arrival, for ERASED_SECONDS: the archive may hold those customers a while longer."""
ERASED_SECONDS = 3600
SCANNED = 5000
DELETED = 500
JOIN_KEYS = ("customer", "candidate")

# KEYS: the replay's lease, POINTER, LEFT, then pairs (what was built, what it takes the place of).
# ARGV: owner of the lease, the new generation, the old one, then (key, value) to set and, after '', (stream, field,
# value, most) to append. -> 1 if it is done, 0 if the lease is lost.
FLIP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 4, #KEYS, 2 do
  redis.call('UNLINK', KEYS[i + 1])
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('RENAME', KEYS[i], KEYS[i + 1]) end
end
local i = 4
while ARGV[i] ~= '' do
  redis.call('SET', ARGV[i], ARGV[i + 1])
  i = i + 2
end
redis.call('XADD', ARGV[i + 1], 'MAXLEN', '~', ARGV[i + 4], '*', ARGV[i + 2], ARGV[i + 3])
redis.call('SADD', KEYS[3], ARGV[3])
redis.call('SREM', KEYS[3], ARGV[2])
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""


def project_of(generation: int) -> str:
    return f"{PROJECT}_{generation}" if generation else PROJECT


def parse(pointer: Any) -> int:
    """The generation that POINTER's value says."""
    return int(pointer or 0)


def current(redis: Redis) -> int:
    return parse(redis.get(POINTER))


def staged(key: str, generation: int) -> str:
    """Where what will stand under a key is built."""
    return f"{key}:{generation}"


def begin(redis: Redis) -> int:
    """A new generation's number, noted as left until it serves."""
    generation: Any = redis.incr(COUNTER)
    redis.sadd(LEFT, generation)
    return int(generation)


def flip(
    redis: Redis,
    owner: str,
    generation: int,
    pairs: Mapping[str, str],
    values: Mapping[str, Any],
    told: tuple[str, str, bytes, int],
) -> bool:
    """Let the generation serve, at once with what was built under other keys; whether the replay's lease was ours.

    `pairs`: what was built -> what it takes the place of. `values` are set, and `told` (stream, field, value, most
    entries) is appended.
    """
    keys = [stream.REPLAY, POINTER, LEFT, *(key for pair in pairs.items() for key in pair)]
    arguments: list[Any] = [owner, generation, current(redis)]
    arguments += [part for pair in values.items() for part in pair]
    done: Any = redis.eval(FLIP, len(keys), *keys, *arguments, "", *told)
    return bool(done)


def clean(redis: Redis, stages: Iterable[str]) -> int:
    """Delete what generations that do not serve have left, in small steps -> how many keys.

    `stages` are the keys that generations are built for under other names, see `staged`.
    """
    left = {int(number) for number in redis.smembers(LEFT)} - {current(redis)}  # type: ignore[union-attr]  # redis-py's types
    if not left:
        return 0
    deleted = 0
    some: list[bytes | str] = [staged(key, number) for key in stages for number in left]
    for key in _keys_of(redis, {project_of(number).encode() for number in left}):
        some.append(key)
        if len(some) >= DELETED:
            deleted += int(redis.unlink(*some))  # type: ignore[arg-type]  # redis-py's types
            some.clear()
    if some:
        deleted += int(redis.unlink(*some))  # type: ignore[arg-type]  # as above
    redis.srem(LEFT, *left)
    return deleted


def _keys_of(redis: Redis, projects: set[bytes]) -> Iterator[bytes]:
    import features.quiet_feast  # noqa: F401  # Feast takes seconds: for those who do clean

    # isort: split
    from feast.infra.key_encoding_utils import serialize_entity_key_prefix

    prefixes = [serialize_entity_key_prefix([name]) for name in JOIN_KEYS]
    for key in redis.scan_iter(count=SCANNED):
        for prefix in prefixes:
            if key.startswith(prefix) and _project(key, len(prefix)) in projects:
                yield key


def _project(key: bytes, start: int) -> bytes | None:
    """What stands behind the entity in a key of the online store: a type, a length, the id, the project."""
    if len(key) < start + 8:
        return None
    (length,) = struct.unpack_from("<I", key, start + 4)
    return key[start + 8 + length :]


def note_erased(redis: Redis, erased: Mapping[str, int]) -> None:
    """Let a replay that reads the archive before it is rewritten know who was erased, and by which arrival."""
    redis.zadd(ERASED, {str(fingerprint(customer)): arrival for customer, arrival in erased.items()})
    redis.zremrangebyscore(ERASED, "-inf", max(erased.values()) - ERASED_SECONDS * 1_000_000)


def erased(redis: Redis) -> dict[int, int]:
    """Fingerprint -> arrival of the erasure."""
    found: Any = redis.zrange(ERASED, 0, -1, withscores=True)
    return {int(member): int(score) for member, score in found}
