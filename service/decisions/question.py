"""All that a decision depends on: what `choose` is a function of, and what a logged decision is made again from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from features.events.schema import Attention

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from features.events.occurrences import Occurrence
    from features.store import Packed
    from models.bundle import Bundle
    from service.decisions.frame import Frame
    from service.decisions.schema import AskedPlacement

Rung = Literal["model", "prior", "static"]
RUNGS: tuple[Rung, ...] = ("model", "prior", "static")
"""From the best to the lowest."""


class Foretold(msgspec.Struct, frozen=True):
    """What was worked out for many questions at once, over the pool of the one placement that each asks for."""

    features: dict[str, NDArray[np.float64]]
    propensity: NDArray[np.float64] | None
    """By the placement's model; None without one."""
    value: NDArray[np.float64] | None = None
    """What a reward brings by the placement's model, where the placement leaves values to it."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One page view."""

    decision_id: str
    now: int
    """Microseconds since the epoch."""
    placements: list[AskedPlacement]
    context: dict[str, Any]
    flags: dict[str, str]
    """Experiment -> variant, where the request names it."""
    unit: str = ""
    """The id under which the customer was seen first; empty for whom no experiment is to know."""
    anonymous: str = ""
    """The visitor's own id, the unit of experiments on visitors."""
    visited: int = 0
    """When that was seen first, in microseconds."""
    bot: bool = False
    state: Packed | None
    """The customer's row; None for one without events."""
    traits: dict[str, Any] = {}
    """The customer's, as identify events told them."""
    occurrences: list[Occurrence]
    """Inline events, in order."""
    frame: Frame
    models: Mapping[str, Bundle]
    """Alias -> model."""
    personalised: bool = True
    """Whether the customer allows that; else `state` and `occurrences` are empty."""
    attention: Attention = Attention()
    """What the ledger said."""
    is_readable: bool = True
    """False: the customer's row could not be read, so that what depends on it may not be shown."""
    sent: bool = False
    """It is about a message of an audience, which no other ranking may share."""
    foretold: Foretold | None = None
    """The features and propensities of this question, where they are known already."""
    late: frozenset[str] = frozenset()
    """Placements whose own deadline left no time for the model."""
    rung: Rung
    """The best rung that may be used: `prior` when the customer's row could not be read."""
