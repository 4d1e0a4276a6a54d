"""How long a view's values count: a row without an event for longer is missing, to a decision as to the training join.

The rule is pure: it knows when the row's last event arrived and the instant that asks, both in microseconds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LIFETIMES = {
    "customer": timedelta(days=400),
    "candidate": timedelta(days=400),
    "successors": timedelta(days=400),
}
"""The `ttl` of each streaming view. Last year's season counts; what is older says less than nothing known does."""

_MICROSECONDS = {view: lifetime // timedelta(microseconds=1) for view, lifetime in LIFETIMES.items()}


def is_expired(view: str, applied: int, at: int) -> bool:
    """Whether a row with its last event at `applied` is missing at `at`; one exactly as old as its lifetime is not.

    >>> day = 24 * 3600 * 1_000_000
    >>> is_expired("customer", 0, 400 * day), is_expired("customer", 0, 400 * day + 1)
    (False, True)
    """
    return at - applied > _MICROSECONDS[view]


def find_expired(view: str, applied: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`is_expired` of many rows at once."""
    expired: NDArray[np.bool_] = at - applied > _MICROSECONDS[view]
    return expired
