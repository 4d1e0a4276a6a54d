"""Identifiers inside states: a 48-bit hash of the text.

A pure function instead of an interning table: live and replay agree without a shared counter, and 48 bits fit a
float's mantissa. Two of 10,000 candidates collide with a chance of 2e-7; of a million, 0.2 %.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

BITS = 48
NOTHING = 0
"""The hash that stands for no identifier."""


@lru_cache(maxsize=1 << 17)
def digest(text: str) -> int:
    """A stable hash of `text` in [1, 2**48); the empty text is NOTHING.

    >>> digest("o-1") == digest("o-1"), digest("")
    (True, 0)
    """
    if not text:
        return NOTHING
    return int.from_bytes(_hash(text, BITS // 8), "little") or 1


def fingerprint(text: str) -> int:
    """A stable hash of `text` in [-2**63, 2**63): for what is too many for 48 bits, such as a day's messages."""
    return int.from_bytes(_hash(text, 8), "little", signed=True)


def _hash(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
