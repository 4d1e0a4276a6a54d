"""A logged decision as labels need it, where millions are read: without states, chances, and what was not shown.

Fields are those of `schema.Decision`; decoding passes over all others.
"""

from __future__ import annotations

from typing import Any

import msgspec

from features.events.schema import Recorded, Sent


class Shown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What stood in a slot, and where."""

    id: str
    rank: int


class SlotShown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    items: list[Shown]


class StateNamed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which of a customer's rows was read, without the row."""

    applied: int


class DecisionOutline(Recorded, frozen=True, kw_only=True, tag="decision"):
    """Of what was shown, to whom, and as of when."""

    placements: list[SlotShown]
    supplied: list[dict[str, Any]] = msgspec.field(default_factory=list)
    snapshot_time: int
    state: StateNamed | None = None
    events: list[Sent] = msgspec.field(default_factory=list)
    bot: bool = False


_decoder: msgspec.json.Decoder[DecisionOutline] = msgspec.json.Decoder(DecisionOutline)


def outline(payload: bytes) -> DecisionOutline:
    """A decision's outline; raises msgspec.ValidationError, also for other events."""
    return _decoder.decode(payload)
