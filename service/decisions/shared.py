"""What all customers used up of budgets, caps and stock, as read a moment ago."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FRESH_SECONDS = 0.2
"""How old what all customers used up may be: whoever decides by too old a count loses the reservation, and reads."""


class Shared:
    """What all customers used up, as read a moment ago; one per process."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[float, dict[int, int]]] = {}

    def stale(self, scopes: Sequence[str]) -> list[str]:
        now = time.monotonic()
        return [scope for scope in scopes if scope not in self._read or now - self._read[scope][0] > FRESH_SECONDS]

    def keep(self, counted: Mapping[str, dict[int, int]]) -> None:
        now = time.monotonic()
        if len(self._read) > 10_000:  # of periods that are over
            self._read.clear()
        self._read |= {scope: (now, counts) for scope, counts in counted.items()}

    def of(self, scopes: Sequence[str]) -> dict[str, dict[int, int]]:
        return {scope: self._read[scope][1] for scope in scopes if scope in self._read}
