"""How states age: what fades, what grows older, and what a kind closes with. Times are seconds since the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Parameters = dict[str, Floats]

Role = Literal["value", "time", "age", "plain"]
"""What becomes of a float of a state when it is closed: a `value` fades by the `time` in the slot behind it, an `age`
is an instant that turns into seconds since then, the others stay as they are."""

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
BEGINNING = 1e-6
"""The earliest time a state holds: events from before the epoch count as at its beginning, since 0 means never."""


def span(seconds: float) -> str:
    """A duration as it stands in feature names.

    >>> span(7 * DAY), span(90 * MINUTE), span(36 * HOUR)
    ('7d', '90m', '36h')
    """
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds % unit == 0:
            return f"{seconds / unit:.0f}{letter}"
    return f"{seconds:g}s"


def parameters_of(kinds: Sequence[msgspec.Struct]) -> Parameters:
    """What kinds of one class close with, each parameter as an array (kinds,)."""
    names = [field.name for field in msgspec.structs.fields(kinds[0]) if field.name != "bound"]
    return {name: np.array([getattr(kind, name) for kind in kinds], np.float64) for name in names}


def decay(value: float, time: float, amount: float, at: float, half_life: float) -> tuple[float, float]:
    """Add `amount` that happened `at` to a decayed sum of `value` as of `time`; a late event adds its decayed share."""
    if at >= time:
        return value * 2.0 ** ((time - at) / half_life) + amount, at
    return value + amount * 2.0 ** ((at - time) / half_life), time


def age(roles: Sequence[Role], states: Floats, now: Floats, parameters: Parameters) -> list[Floats]:
    """Each slot of states (slots, ...) as its role says at `now`."""
    aged = list(states)
    for at, role in enumerate(roles):
        if role == "value":
            aged[at] = fade(states[at], states[at + 1], now, parameters["half_life"])
        elif role == "age":
            aged[at] = since(states[at], now)
    return aged


def fade(value: Floats, time: Floats, now: Floats, half_life: float | Floats) -> Floats:
    """Decayed sums as of `time`, faded to `now` (never grown: a state newer than `now` counts as of `now`)."""
    return value * np.exp2(np.minimum(time - now, 0.0) / half_life)


def since(time: Floats, now: Floats) -> Floats:
    """Seconds from `time` to `now`, NaN where time is 0 (never)."""
    return np.where(time > 0, np.maximum(now - time, 0.0), np.nan)
