"""HTTP shapes of logged decisions, and nothing else."""

# No `from __future__ import annotations`: the annotations are read when the program runs.

from typing import Any

import msgspec

from service.decisions.schema import AnsweredExperiment


class LoggedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate that was answered."""

    id: str
    rank: int
    propensity: float | None
    value: float
    priority: float
    selection_probability: float | None


class LoggedPlacement(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    limit: int
    candidates: list[str] | None
    """Those that the request supplied; null: the catalog's."""
    rung: str
    model: str | None
    """Name and version of what scored; null on lower rungs."""
    exploration: float
    items: list[LoggedItem]
    rejected: dict[str, list[str]]
    """Reason -> candidates that might not be shown."""
    would: list[LoggedItem] = []
    """What an apprentice would have shown instead of the default."""


class LoggedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as it was served, and what it was made with."""

    decision_id: str
    customer: str
    """Whom the request's ids belonged to."""
    customer_id: str | None
    anonymous_id: str | None
    time: str
    rung: str
    catalog_version: str
    snapshot: int
    """Number of the snapshot of all candidates' features; 0 without one."""
    snapshot_time: str | None
    features_as_of: str | None
    """Time of the last event in the customer's row; null without one."""
    readable: bool
    """False: the customer's row could not be read."""
    context: dict[str, Any]
    events: list[dict[str, Any]]
    """Those that came inside the request, as they are stored."""
    experiments: list[AnsweredExperiment]
    placements: list[LoggedPlacement]
    supplied: list[dict[str, Any]] = []
    """Candidates as the request described them."""
    attention: dict[str, Any] | None
    """What the ledger said of caps, budgets and stock; null where nothing was bounded."""
