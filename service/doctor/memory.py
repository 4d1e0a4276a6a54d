"""Bytes of Redis' memory a customer, by view, against the promise; streams and deduplication stated apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from features import footprint
from service.doctor.findings import Finding, amount, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from features.home import Home

MILLION = 1_000_000
PROMISE = 1 << 30
"""Bytes for a million customers."""
FEW = 100
"""Customers below which the average says little."""


def check_memory(redis: Redis, home: Home) -> Iterator[Finding]:
    """Raises redis.RedisError if it goes away."""
    found = footprint.measure(redis, home)
    if not found.sampled:
        yield Finding(check="bytes a customer", verdict="ok", found="no customers yet")
    else:
        each, of_a_million = found.bytes_a_customer, found.bytes_a_customer * MILLION
        verdict = judge(of_a_million, PROMISE, 10 * PROMISE) if found.sampled >= FEW else "ok"
        parts = ", ".join(f"{view} {size:,.0f}" for view, size in found.a_customer.items())
        yield Finding(
            check="bytes a customer",
            verdict=verdict,
            found=f"{each:,.0f} ({parts}), so {amount(of_a_million)} a million; {found.customers:,} now, "
            f"{found.sampled:,} sampled",
            advice="" if verdict == "ok" else "see `redis hashes`; fewer or smaller keyed features are smaller rows",
            figures={
                "bytes": each,
                "by_view": found.a_customer,
                "bytes_a_million": of_a_million,
                "customers": found.customers,
                "sampled": found.sampled,
            },
        )
    others = {use: size for use, size in found.uses.items() if use != "customers"}
    yield Finding(
        check="other memory",
        verdict="ok",
        found=", ".join(f"{use} {amount(size)}" for use, size in others.items()) or "none",
        figures=others,
    )
