"""What a report reads of an archived event: a small part, so that millions are read fast."""

from __future__ import annotations

from typing import Any

import msgspec


class Item(msgspec.Struct, frozen=True):
    id: str
    team: str | None = None


class Slot(msgspec.Struct, frozen=True):
    """What is read of a placement of a decision."""

    id: str
    interleaved: str = ""
    items: list[Item] = []


class Noted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is read of any event."""

    customer: str
    time: int
    message_id: str = ""
    decision_id: str | None = None
    anonymous_id: str | None = None
    properties: dict[str, Any] = {}
    previous: str = ""
    context: dict[str, Any] = {}
    unit: str = ""
    variants: dict[str, str] = {}
    forced: list[str] = []
    chances: dict[str, float] = {}
    unassigned: bool = False
    bot: bool = False
    audience: str = ""
    catalog_version: str = ""


class NotedSlots(Noted, frozen=True, kw_only=True, rename="camel"):
    """The same with what a decision served."""

    placements: list[Slot] = []


DECODERS = msgspec.json.Decoder(Noted), msgspec.json.Decoder(NotedSlots)
"""Of events; the second with slates."""
