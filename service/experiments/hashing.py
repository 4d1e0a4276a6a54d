"""Which bucket a unit falls into: GrowthBook's hash, version 2, so that numbers agree across systems. Pure.

Strings are read as JavaScript has them, in UTF-16 code units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types

from features.compiling import READ_INTS, compiled
from service.catalog.experiments import BUCKETS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

OFFSET, PRIME, MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
LONGEST = 10
"""Decimal digits of a number of 32 bits."""


def codes(text: str) -> Ints:
    """(length,) the UTF-16 code units of a text."""
    return np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16).astype(np.int64)


def fnv32a(text: str, state: int = OFFSET) -> int:
    """FNV-1a of 32 bits over code units (Fowler, Noll, Vo: draft-eastlake-fnv, section 2), continued from `state`."""
    for code in codes(text).tolist():
        state = ((state ^ code) * PRIME) & MASK
    return state


def bucket(seed: str, unit: str) -> int:
    """0 to 9999: FNV-1a of the decimal digits of FNV-1a of seed and unit, modulo 10,000.

    >>> bucket("seed", "a")
    505
    """
    return fnv32a(str(fnv32a(seed + unit))) % BUCKETS


@compiled(types.void(READ_INTS, READ_INTS, types.int64[::1]))
def fall(states: Ints, unit: Ints, buckets: Ints) -> None:
    """Fill (n,) `buckets` with where a unit, as `codes`, falls under n seeds, of which `states` are the FNV-1a."""
    digits = np.empty(LONGEST, np.int64)
    for at in range(len(states)):
        state = states[at]
        for code in unit:
            state = ((state ^ code) * PRIME) & MASK
        length = 0
        while state > 0 or length == 0:
            digits[length] = state % 10
            state //= 10
            length += 1
        state = OFFSET
        for place in range(length - 1, -1, -1):
            state = ((state ^ (digits[place] + 48)) * PRIME) & MASK
        buckets[at] = state % BUCKETS
