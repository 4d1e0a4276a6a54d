"""The kinds of aggregate without keys: decayed and windowed counts and sums, means, rates, last and first times.

A state is a list of floats, `update` changes it in place, `merge` gives the state of both lists of events and commutes
to the bit, and `close` turns whole columns of states into features at `now`. Times are seconds since the epoch; an
empty state is all zeros (time 0 means never).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec
import numpy as np

from features.aggregates.aging import BEGINNING, Role, age, decay, parameters_of, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.aggregates.aging import Floats, Parameters

Value = Literal["one", "items", "revenue", "candidate", "category"]
"""What an event adds to a state: one, its number of items, its revenue; or what is remembered of it."""


class Kind(msgspec.Struct, frozen=True):
    """What every kind answers. `roles` of a state's floats; `outputs` one feature each ('' is the aggregate's name)."""

    roles: ClassVar[tuple[Role, ...]]
    outputs: ClassVar[tuple[str, ...]] = ("",)
    categorical: ClassVar[bool] = False
    groups: ClassVar[int] = 1
    """Groups of events that it tells apart."""
    values: ClassVar[tuple[Value, ...]] = ("one",)
    """What a declaration may give it of an event."""

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
    values = ("one", "items", "revenue")
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
    values = ("items", "revenue")
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
    groups = 2
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
    """Seconds since the latest event.

    >>> kind = Recency(); state = kind.empty()
    >>> kind.update(state, 160.0, 1.0, 0); kind.update(state, 100.0, 1.0, 0)
    >>> float(kind.close(np.array([state]), np.array([200.0]))[0][0])
    40.0
    """

    roles = ("age",)

    @property
    def slug(self) -> str:
        return "recency"

    def update(self, state: list[float], time: float, amount: float, part: int) -> None:
        state[0] = max(state[0], time, BEGINNING)

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        return [max(a[0], b[0])]

    @classmethod
    def finish(cls, aged: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        return (aged[0],)


class FirstSeen(Kind, frozen=True):
    """Seconds since the earliest event.

    >>> kind = FirstSeen(); state = kind.empty()
    >>> kind.update(state, 160.0, 1.0, 0); kind.update(state, 100.0, 1.0, 0)
    >>> float(kind.close(np.array([state]), np.array([200.0]))[0][0])
    100.0
    """

    roles = ("age",)

    @property
    def slug(self) -> str:
        return "first_seen"

    def update(self, state: list[float], time: float, amount: float, part: int) -> None:
        time = max(time, BEGINNING)
        state[0] = min(state[0] or time, time)

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        return [min(a[0] or b[0], b[0] or a[0])]

    @classmethod
    def finish(cls, aged: Sequence[Floats], parameters: Parameters) -> tuple[Floats, ...]:
        return (aged[0],)


class Last(Kind, frozen=True):
    """The latest identifier (a digest), as a category.

    Of two at the same time it is the one that arrived later; of two states at the same time, the larger digest.

    >>> kind = Last(); state = kind.empty()
    >>> kind.update(state, 160.0, 7.0, 0); kind.update(state, 100.0, 8.0, 0)
    >>> float(kind.close(np.array([state]), np.array([200.0]))[0][0])
    7.0
    """

    roles = ("plain", "plain")
    values = ("candidate", "category")
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
