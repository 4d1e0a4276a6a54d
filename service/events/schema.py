"""HTTP shapes of event intake: Segment's, of which nothing unknown is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


class EventRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event. One of `userId` and `anonymousId` is required."""

    user_id: str | int | None = None
    anonymous_id: str | int | None = None
    message_id: str | int | None = None
    event: str | None = None
    name: str | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    timestamp: str | float | None = None
    original_timestamp: str | float | None = None
    sent_at: str | float | None = None
    group_id: str | int | None = None
    previous_id: str | int | None = None
    write_key: str | None = None


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Several events, each with its `type`."""

    batch: Annotated[list[Any], Meta(min_length=1, max_length=2500)]
    """Of any shape: what is no event is told in its result, and keeps no other from being taken."""
    context: dict[str, Any] = {}
    sent_at: str | float | None = None
    write_key: str | None = None


class EventResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: Literal["accepted", "duplicate", "rejected"]
    reason: str | None = None


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    results: list[EventResult]
    token: str | None
    """For a decision's `after`: waits until these events are in the features."""
