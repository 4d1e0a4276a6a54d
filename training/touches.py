"""What customers saw, clicked on and bought, in columns: there may be millions, and texts are kept once.

Refuses nothing: what names no decision, placement or candidate never comes here.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from training.labels import Ints


class Numbering(dict[str, int]):
    """Texts and their numbers, in the order in which they were first asked for."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


class Names(msgspec.Struct):
    decisions: Numbering = msgspec.field(default_factory=Numbering)
    placements: Numbering = msgspec.field(default_factory=Numbering)
    candidates: Numbering = msgspec.field(default_factory=Numbering)
    customers: Numbering = msgspec.field(default_factory=Numbering)


class Touches:
    """Exposures, or clicks, in the order in which they were told: each column (t,)."""

    def __init__(self) -> None:
        self._decision, self._placement, self._candidate = array("q"), array("q"), array("q")
        self._customer, self._time = array("q"), array("q")

    def add(self, decision: int, placement: int, candidate: int, customer: int, time: int) -> None:
        """Numbers of names, and microseconds."""
        self._decision.append(decision)
        self._placement.append(placement)
        self._candidate.append(candidate)
        self._customer.append(customer)
        self._time.append(time)

    def __len__(self) -> int:
        return len(self._time)

    @property
    def decision(self) -> Ints:
        return np.array(self._decision, np.int64)

    @property
    def placement(self) -> Ints:
        return np.array(self._placement, np.int64)

    @property
    def candidate(self) -> Ints:
        return np.array(self._candidate, np.int64)

    @property
    def customer(self) -> Ints:
        """Who they turned out to be."""
        return np.array(self._customer, np.int64)

    @property
    def time(self) -> Ints:
        return np.array(self._time, np.int64)


class Order(msgspec.Struct, frozen=True):
    """What was bought; `id` is the shop's, so that an order that is told twice counts once."""

    id: str
    customer: int
    time: int
    revenue: float


class Refund(msgspec.Struct, frozen=True):
    order: str
    revenue: float
    """None of it is left below zero; infinite for a cancellation."""


class Behaviour(msgspec.Struct, kw_only=True):
    """What customers did, each event once, in the order of its arrival."""

    names: Names = msgspec.field(default_factory=Names)
    exposures: Touches = msgspec.field(default_factory=Touches)
    clicks: Touches = msgspec.field(default_factory=Touches)
    orders: list[Order] = []
    refunds: list[Refund] = []
    until: int = 0
    """When the latest event of the archive arrived: what could have been heard of by then, was."""
