"""What the online store takes in Redis' memory: bytes a customer, by view, from a sample; and all else, by its use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

import features.quiet_feast  # noqa: F401  # before Feast

# isort: split
from feast.infra.key_encoding_utils import serialize_entity_key_prefix
from feast.infra.online_stores.helpers import _mmh3

from features import views

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis

    from features.home import Home

SAMPLE = 1000
"""Keys of each use that are measured; the rest is taken to be like them."""
LOOKED_AT = 2_000_000
"""Keys that are counted by use; of more, the rest is taken to be like them."""
SCANNED, ASKED = 2000, 200
OTHER = "unknown fields"
"""Of hashes: fields that no present declaration has, until a replay."""
TABLE = "key and table"
USES = {
    b"events": "streams",
    b"seen": "deduplication",
    b"candidates": "candidates by partition",
    b"changed": "candidates by partition",
    b"answer": "answers kept for retries",
    b"newest": "arrivals of newest events",
}
_PARTITIONED = re.compile(rb"kairos:\{\d+\}:([a-z]+)")


class Use(msgspec.Struct):
    """Keys of one use."""

    count: int = 0
    sampled: int = 0
    sampled_bytes: int = 0

    @property
    def bytes(self) -> int:
        return round(self.sampled_bytes / self.sampled * self.count) if self.sampled else 0


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes as Redis counts them."""

    uses: dict[str, int]
    """By use; `customers` and `candidates` are the hashes of the online store."""
    customers: int
    sampled: int
    a_customer: dict[str, float]
    """View -> bytes of a customer's values and field names; TABLE: what the key and the hash add."""

    @property
    def bytes_a_customer(self) -> float:
        return sum(self.a_customer.values())


def measure(redis: Redis, home: Home) -> Footprint:
    """Look at every key once, and into a sample of them. Raises redis.RedisError."""
    uses: dict[str, Use] = {}
    kept: dict[str, list[bytes]] = {}
    prefixes = {serialize_entity_key_prefix([name]): f"{name}s" for name in ("customer", "candidate")}
    looked = 0
    for key in redis.scan_iter(count=SCANNED):
        name = _use_of(key, prefixes)
        use = uses.setdefault(name, Use())
        use.count += 1
        if len(sample := kept.setdefault(name, [])) < SAMPLE:
            sample.append(key)
        looked += 1
        if looked >= LOOKED_AT:
            break
    for name, sample in kept.items():
        for size in _sizes(redis, sample):
            uses[name].sampled += 1
            uses[name].sampled_bytes += size
    size_of_all: Any = redis.dbsize()
    factor = max(size_of_all / looked, 1.0) if looked else 1.0
    a_customer = _split(redis, kept.get("customers", []), fields_by_view(home))
    return Footprint(
        uses={name: round(use.bytes * factor) for name, use in sorted(uses.items())},
        customers=round(uses["customers"].count * factor) if "customers" in uses else 0,
        sampled=len(kept.get("customers", [])),
        a_customer=a_customer,
    )


def fields_by_view(home: Home) -> dict[bytes, str]:
    """The field of a hash in which Feast keeps a feature -> its view."""
    found = {}
    for name, view in views.build(home.history).items():
        found[f"_ts:{name}".encode()] = name
        found |= {_mmh3(f"{name}:{feature.name}"): name for feature in view.features}
    return found


def _use_of(key: bytes, prefixes: dict[bytes, str]) -> str:
    for prefix, name in prefixes.items():
        if key.startswith(prefix):
            return name
    if match := _PARTITIONED.match(key):
        return USES.get(match[1], "other")
    return "snapshot" if key.startswith(b"kairos:{snapshot}") else "other"


def _sizes(redis: Redis, keys: list[bytes]) -> Iterable[int]:
    """Bytes of those keys that are still there."""
    for start in range(0, len(keys), ASKED):
        with redis.pipeline(transaction=False) as pipe:
            for key in keys[start : start + ASKED]:
                pipe.memory_usage(key)
            yield from (size for size in pipe.execute() if size)


def _split(redis: Redis, keys: list[bytes], views_of: dict[bytes, str]) -> dict[str, float]:
    """Bytes of an average hash, by view."""
    totals: dict[str, int] = {}
    there = 0
    for start in range(0, len(keys), ASKED):
        with redis.pipeline(transaction=False) as pipe:
            for key in keys[start : start + ASKED]:
                pipe.memory_usage(key)
                pipe.hgetall(key)  # type: ignore[arg-type]  # it takes bytes as well
            answers = pipe.execute()
        for size, fields in zip(answers[::2], answers[1::2], strict=True):
            if not size or not fields:
                continue
            there += 1
            for field, value in fields.items():
                view = views_of.get(field, OTHER)
                totals[view] = totals.get(view, 0) + len(field) + len(value)
                size -= len(field) + len(value)
            totals[TABLE] = totals.get(TABLE, 0) + size
    return {view: total / there for view, total in sorted(totals.items())}
