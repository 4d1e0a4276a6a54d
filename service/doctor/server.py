"""Is Redis what Kairos needs: of a version that it knows, durable, without eviction, and small hashes kept small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from features import embedded
from service.doctor.findings import Finding, amount, worst

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from service.doctor.findings import Verdict

SMALL_HASH = 2048
FULL, NEARLY_FULL = 0.95, 0.8
"""Of the memory that Redis may use."""
SETTINGS = (
    "appendonly",
    "appendfsync",
    "save",
    "maxmemory",
    "maxmemory-policy",
    "hash-max-ziplist-value",
    "hash-max-listpack-value",
)


def check_server(redis: Redis) -> Iterator[Finding]:
    """Raises redis.RedisError if it goes away."""
    told: Any = redis.info()
    yield _version(told)
    settings = _settings(redis)
    if settings is None:
        yield Finding(
            check="redis settings",
            verdict="warning",
            found="the server does not tell its settings (CONFIG is not allowed)",
            advice=f"see that appendonly is yes, maxmemory-policy noeviction, hash-max-ziplist-value {SMALL_HASH}",
        )
        return
    yield _durability(settings, told)
    yield _eviction(settings, told)
    yield _hashes(settings)


def _settings(redis: Redis) -> dict[str, str] | None:
    try:
        # Each name alone: before version 7, and in some forks, only one can be asked at a time.
        found: list[dict[str, str]] = [redis.config_get(name) for name in SETTINGS]  # type: ignore[misc]  # sync
    except ResponseError:
        return None
    return {_text(name): _text(value) for answer in found for name, value in answer.items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _version(told: dict[str, Any]) -> Finding:
    version = str(told["redis_version"])
    major, minor = (int(part) for part in version.split(".")[:2])
    old = (major, minor) < embedded.OLDEST
    return Finding(
        check="redis",
        verdict="problem" if old else "ok",
        found=f"answers, version {version}, {amount(told['used_memory'])} used",
        advice="use Redis 6.2 or newer" if old else "",
        figures={"version": version, "used_memory": told["used_memory"]},
    )


def _durability(settings: dict[str, str], told: dict[str, Any]) -> Finding:
    appends, fsync, save = settings["appendonly"] == "yes", settings["appendfsync"], settings.get("save", "")
    verdict: Verdict = "ok"
    found, advice = f"append-only file, written to disk {fsync}", ""
    if not appends:
        verdict = "warning" if save else "problem"
        found = f"no append-only file, {f'snapshots ({save})' if save else 'no snapshots either'}"
        advice = "set appendonly yes: acknowledged events are lost when the server ends"
    elif told.get("aof_last_write_status", "ok") != "ok":
        verdict, found = "problem", "the append-only file cannot be written"
        advice = "make room on the server's disk; nothing new is durable until then"
    elif fsync == "no":
        verdict, advice = "warning", "set appendfsync everysec: a power cut loses what the system has not written yet"
    return Finding(
        check="redis persistence",
        verdict=verdict,
        found=found,
        advice=advice,
        figures={"appendonly": appends, "appendfsync": fsync, "save": save},
    )


def _eviction(settings: dict[str, str], told: dict[str, Any]) -> Finding:
    policy, most, used = settings["maxmemory-policy"], int(settings["maxmemory"]), int(told["used_memory"])
    evicts: Verdict = "ok"
    if policy != "noeviction":
        evicts = "problem" if most else "warning"
    share = used / most if most else 0.0
    fills: Verdict = "problem" if share > FULL else "warning" if share > NEARLY_FULL else "ok"
    advice = []
    if evicts != "ok":
        advice.append("set maxmemory-policy noeviction: events, leases and features may be thrown away")
    if fills != "ok":
        advice.append("raise maxmemory: when it is full, events are refused")
    return Finding(
        check="redis memory",
        verdict=worst([evicts, fills]),
        found=f"{policy}, {amount(used)} of {amount(most) if most else 'no limit'}",
        advice="; ".join(advice),
        figures={"policy": policy, "maxmemory": most, "used_memory": used},
    )


def _hashes(settings: dict[str, str]) -> Finding:
    value = int(settings.get("hash-max-listpack-value") or settings.get("hash-max-ziplist-value") or 0)
    small = value < SMALL_HASH
    return Finding(
        check="redis hashes",
        verdict="warning" if small else "ok",
        found=f"hash-max-ziplist-value {value}",
        advice=f"set hash-max-ziplist-value {SMALL_HASH}: a customer takes several times the memory" if small else "",
        figures={"hash_max_ziplist_value": value},
    )
