"""Shapes of audiences: what is asked, what came of it, and the columns of the file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pyarrow as pa
from msgspec import Meta

Id = Annotated[str, Meta(min_length=1, max_length=256)]
STAMP = pa.timestamp("us", tz="UTC")
COLUMNS = pa.schema(
    [
        ("customer", pa.string()),
        ("candidate", pa.string()),
        ("rank", pa.int32()),
        ("propensity", pa.float64()),
        ("value", pa.float64()),
        ("priority", pa.float64()),
        ("selection_probability", pa.float64()),
        ("rung", pa.string()),
        ("reason", pa.string()),
        ("why", pa.string()),
        ("best_hour", pa.int32()),
        ("send_at", STAMP),
        ("decision_id", pa.string()),
    ]
)
"""A row for each item of each customer; one without candidate and with a `reason` for who gets nothing."""


class Line(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A row of the file; the fields are COLUMNS."""

    customer: str
    candidate: str | None = None
    rank: int | None = None
    propensity: float | None = None
    value: float | None = None
    priority: float | None = None
    selection_probability: float | None = None
    rung: str | None = None
    reason: str | None = None
    why: str | None = None
    best_hour: int | None = None
    send_at: int | None = None
    decision_id: str | None = None


class AudienceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to choose for, and when."""

    placement: Id
    where: Annotated[str, Meta(min_length=1, max_length=2000)] | None = None
    """A rule in CEL over the customer's features; everybody if left out."""
    at: str | None = None
    """When it is to be sent, ISO 8601; now if left out. A time that is over is a rehearsal over the history."""
    rehearse: bool = False
    """Reserve and log nothing."""
    explain: bool = False
    """Say for each item what speaks for it most, by the model: `why`. It takes several times as long."""
    format: Literal["parquet", "csv"] = "parquet"


class Audience(msgspec.Struct, kw_only=True, omit_defaults=False):
    """What an audience came to so far."""

    id: str
    placement: str
    where: str | None
    at: str
    rehearsal: bool
    """Nothing was reserved or logged."""
    format: str
    status: Literal["running", "done", "failed"] = "running"
    error: str | None = None
    explain: bool = False
    catalog_version: str = ""
    customers: int = 0
    """In the store."""
    done: int = 0
    joined: int = 0
    """Left out, as their row belongs to another id."""
    outside: int = 0
    """For whom the rule does not hold."""
    unknown: int = 0
    """For whom the rule could not be evaluated, as a feature is not there."""
    given: int = 0
    """Who gets something."""
    nothing: dict[str, int] = msgspec.field(default_factory=dict)
    """Who gets nothing, by reason."""
    process: int = 0
