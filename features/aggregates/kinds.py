"""The kinds of aggregate without keys: decayed and windowed counts and sums, means, rates, last and first times.

A state is a list of floats, `update` changes it in place, `merge` commutes, and `close` turns whole columns of states
into features at `now`. Times are seconds since the epoch; an empty state is all zeros (time 0 means never).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

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


class Kind(msgspec.Struct, frozen=True):
    """What every kind answers. `roles` of a state's floats; `outputs` one feature each ('' is the aggregate's name)."""

    roles: ClassVar[tuple[Role, ...]]
    outputs: ClassVar[tuple[str, ...]] = ("",)
    categorical: ClassVar[bool] = False

    @property
    def slug(self) -> str:
        raise NotImplementedError

    @property
    def slots(self) -> int:
        return len(self.roles)

    def empty(self) -> list[float]:
        return [0.0] * self.slots

    def update(self, state: list[float], time: float, amount: float, part: int) -> None:
        """Take in `amount` at `time`; `part` is the index of the event's group in the declaration (Rate has two)."""
        raise NotImplementedError

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        raise NotImplementedError

    @classmethod
    def finish(cls, aged: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        """What `age` made of each slot -> an array for each output; NaN where there is nothing to say.

        The slots and the kinds' `parameters` have shapes that broadcast.
        """
        raise NotImplementedError

    def close(self, states: Floats, now: Floats) -> tuple[Floats, ...]:
        """States (n, slots) of this kind at `now` (n,) -> an (n,) array for each output."""
        parameters = parameters_of([self])
        return self.finish(age(self.roles, states.T, now, parameters), parameters)


class Decayed(Kind, frozen=True):
    """A count or sum in which an event weighs half after `half_life` seconds.

    >>> kind = Decayed(10.0); state = kind.empty()
    >>> kind.update(state, 100.0, 1.0, 0); kind.update(state, 110.0, 1.0, 0)
    >>> float(kind.close(np.array([state]), np.array([120.0]))[0][0])
    0.75
    """

    roles = ("value", "time")
    half_life: float

    @property
    def slug(self) -> str:
        return f"decayed_{span(self.half_life)}"

    def update(self, state: list[float], time: float, amount: float, part: int) -> None:
        state[0], state[1] = decay(state[0], state[1], amount, time, self.half_life)

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        return list(decay(a[0], a[1], b[0], b[1], self.half_life))

    @classmethod
    def finish(cls, aged: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        return (aged[0],)


class Mean(Kind, frozen=True):
    """The decayed mean of a value over its events.

    >>> kind = Mean(10.0); state = kind.empty()
    >>> kind.update(state, 100.0, 4.0, 0); kind.update(state, 110.0, 1.0, 0)
    >>> float(kind.close(np.array([state]), np.array([120.0]))[0][0])
    2.0
    """

    roles = ("plain", "plain", "plain")
    half_life: float

    @property
    def slug(self) -> str:
        return f"mean_{span(self.half_life)}"

    def update(self, state: list[float], time: float, amount: float, part: int) -> None:
        total, count, before = state
        state[0], state[2] = decay(total, before, amount, time, self.half_life)
        state[1], _ = decay(count, before, 1.0, time, self.half_life)

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        total, time = decay(a[0], a[2], b[0], b[2], self.half_life)
        return [total, decay(a[1], a[2], b[1], b[2], self.half_life)[0], time]

    @classmethod
    def finish(cls, aged: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        total, count = aged[0], aged[1]  # both would fade alike
        return (np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0),)


class Rate(Kind, frozen=True):
    """Smoothed ratio of two decayed counts: (hits + strength x prior) / (tries + strength).

    The declaration's first group of events are the hits, its second the tries.

    >>> kind = Rate(10.0, prior=0.5, strength=2.0); state = kind.empty()
    >>> kind.update(state, 100.0, 1.0, 1); kind.update(state, 100.0, 1.0, 1); kind.update(state, 100.0, 1.0, 0)
    >>> float(kind.close(np.array([state]), np.array([100.0]))[0][0])
    0.5
    """

    roles = ("value", "time", "value", "time")
    half_life: float
    prior: float = 0.05
    strength: float = 20.0

    @property
    def slug(self) -> str:
        return f"rate_{span(self.half_life)}"

    def update(self, state: list[float], time: float, amount: float, part: int) -> None:
        at = 2 * part
        state[at], state[at + 1] = decay(state[at], state[at + 1], amount, time, self.half_life)

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        return [
            *decay(a[0], a[1], b[0], b[1], self.half_life),
            *decay(a[2], a[3], b[2], b[3], self.half_life),
        ]

    @classmethod
    def finish(cls, aged: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        strength = parameters["strength"]
        return ((aged[0] + strength * parameters["prior"]) / (aged[2] + strength),)


class Recency(Kind, frozen=True):
    """Seconds since the latest event."""

    roles = ("age",)

    @property
    def slug(self) -> str:
        return "recency"

    def update(self, state: list[float], time: float, amount: float, part: int) -> None:
        state[0] = max(state[0], time)

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        return [max(a[0], b[0])]

    @classmethod
    def finish(cls, aged: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        return (aged[0],)


class FirstSeen(Kind, frozen=True):
    """Seconds since the earliest event."""

    roles = ("age",)

    @property
    def slug(self) -> str:
        return "first_seen"

    def update(self, state: list[float], time: float, amount: float, part: int) -> None:
        state[0] = min(state[0] or time, time)

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        return [min(a[0] or b[0], b[0] or a[0])]

    @classmethod
    def finish(cls, aged: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        return (aged[0],)


class Last(Kind, frozen=True):
    """The latest identifier (a digest; of two at the same time the later arrival), as a category."""

    roles = ("plain", "plain")
    categorical = True

    @property
    def slug(self) -> str:
        return "last"

    def update(self, state: list[float], time: float, amount: float, part: int) -> None:
        if time >= state[1]:
            state[0], state[1] = amount, time

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        return list(max((a[1], a[0]), (b[1], b[0]))[::-1])

    @classmethod
    def finish(cls, aged: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        return (aged[0],)


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
