"""HTTP shapes of customers."""

from __future__ import annotations

from typing import Any

import msgspec


class ConsentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the customer allows from now on; what is left out stays as it was."""

    tracking: bool | None = None
    """Events are kept and become features; else they are counted only."""
    personalisation: bool | None = None
    """Decisions use what is known of the customer; else the context only."""
    marketing: bool | None = None


class ConsentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    """For a decision's `after`: waits until this holds."""


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    allowed: bool
    said: str | None
    """When the customer spoke of it last; null: the catalog's default."""


class RecentEvent(msgspec.Struct, frozen=True, kw_only=True):
    time: str
    type: str
    event: str | None
    properties: dict[str, Any]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a customer."""

    customer: str
    """The id that the others were joined to."""
    ids: list[str]
    """All ids of the customer."""
    first_seen_as: str
    """The id that experiments go by."""
    traits: dict[str, Any]
    consent: dict[str, Purpose]
    features: dict[str, float | None]
    """Those that need no candidate, as of now."""
    features_as_of: str | None
    """Arrival of the last event in them."""
    features_age_seconds: float | None
    segments: list[str]
    events: list[RecentEvent]
    """The latest, newest first."""
    events_in_all: int


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """A model that may have learned from the person: its training window meets their events."""

    model: str
    window: tuple[str, str]


class ErasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every place that was cleaned, and how much was there."""

    ids: list[str]
    online_rows: int
    archived_events: int
    archive_files: int
    history_rows: int
    stored_answers: int
    contacts: int
    """Ids whose contacts the ledger of caps held."""
    dialect_ranks: int
    """What the dialects remembered of ranks of the last day."""
    audience_rows: int
    """Rows in the files of audiences that can still be fetched."""
    dead_letters: int
    journey_timers: int
    """No journeys exist yet, so that there is nothing to cancel."""
    trained_models: list[Trained]
    """Train again to have models without the person."""
    kept: list[str]
    """What stays, and why."""
