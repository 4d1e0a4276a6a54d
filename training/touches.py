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
    """Exposures, or clicks, in the order in which they were told."""

    def __init__(self) -> None:
        self._rows = array("q")

    def add(self, decision: int, placement: int, candidate: int, customer: int, time: int) -> None:
        """Numbers of names, the customer's of who they turned out to be, and microseconds."""
        self._rows.extend((decision, placement, candidate, customer, time))

    @property
    def columns(self) -> Ints:
        """(5, t): what was added, in that order."""
        return np.array(self._rows, np.int64).reshape(-1, 5).T


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
