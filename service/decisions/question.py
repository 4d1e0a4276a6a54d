"""All that a decision depends on: what `choose` is a function of, and what a logged decision is made again from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from features.events.occurrences import Occurrence
    from features.store import Packed
    from models.bundle import Bundle
    from service.decisions.frame import Frame
    from service.decisions.schema import AskedPlacement

Rung = Literal["model", "prior", "static"]
RUNGS: tuple[Rung, ...] = ("model", "prior", "static")
"""From the best to the lowest."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One page view."""

    decision_id: str
    now: int
    """Microseconds since the epoch."""
    placements: list[AskedPlacement]
    context: dict[str, Any]
    flags: dict[str, str]
    state: Packed | None
    """The customer's row; None for one without events."""
    occurrences: list[Occurrence]
    """Inline events, in order."""
    frame: Frame
    models: Mapping[str, Bundle]
    """Alias -> model."""
    personalised: bool = True
    """Whether the customer allows that; else `state` and `occurrences` are empty."""
    rung: Rung
    """The best rung that may be used: `prior` when the customer's row could not be read."""
