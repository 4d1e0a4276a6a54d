"""HTTP shapes of event intake: Segment's, of which nothing unknown is refused.

The fields are described and not enforced here: what is wrong with an event is found where it is normalised, so that its
reason is told and it goes to the dead letters.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


def _described(*types: str) -> Meta:
    return Meta(extra_json_schema={"extra": {"type": [*types, "null"]}})


Id = Annotated[Any, _described("string", "integer")]
Text = Annotated[Any, _described("string")]
Mapping = Annotated[Any, _described("object")]
Time = Annotated[Any, _described("string", "number")]


class EventRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event. One of `userId` and `anonymousId` is required."""

    user_id: Id = None
    anonymous_id: Id = None
    message_id: Id = None
    event: Text = None
    name: Text = None
    properties: Mapping = None
    traits: Mapping = None
    context: Mapping = None
    timestamp: Time = None
    original_timestamp: Time = None
    sent_at: Time = None
    group_id: Id = None
    previous_id: Id = None
    integrations: Mapping = None
    write_key: Text = None


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Several events, each with its `type`."""

    batch: Annotated[list[Any], Meta(min_length=1, max_length=2500)]
    """Of any shape: what is no event is told in its result, and keeps no other from being taken."""
    context: dict[str, Any] | None = None
    """Holds for every event, but for what it says itself."""
    sent_at: Time = None
    integrations: Mapping = None
    write_key: Text = None


class EventResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: Literal["accepted", "duplicate", "rejected"]
    reason: str | None = None


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    results: list[EventResult]
    token: str | None
    """For a decision's `after`: waits until these events are in the features."""
