"""What is known of a customer, from the online store and the archive."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features import erasure
from features.aggregates.columns import close, decode_rows
from features.aggregates.rows import LAYOUTS, pack
from features.consent import PURPOSES
from features.events.schema import Identify, Page, Screen, Track
from service.customers.schema import Profile, Purpose, RecentEvent
from service.decisions.record import timestamp

if TYPE_CHECKING:
    from features.aggregates.rows import Row
    from features.events.schema import Event
    from features.home import Home
    from service.catalog.schema import Consent

RECENT = 50


def describe(home: Home, row: Row, ids: list[str], default: Consent, now: int) -> Profile:
    """The customer whose live states are `row`, at `now` (microseconds)."""
    events = [event for _, event in erasure.read_events(home, ids)]
    traits: dict[str, Any] = {}
    for event in events:
        if isinstance(event, Identify):
            traits |= event.traits
    return Profile(
        customer=row.text,
        ids=ids,
        first_seen_as=row.assignment or row.text,
        traits=traits,
        consent={purpose: _purpose(row, purpose, default) for purpose in PURPOSES},
        features=_features(row, now) if row.applied else {},
        features_as_of=timestamp(row.applied) if row.applied else None,
        features_age_seconds=(now - row.applied) / 1e6 if row.applied else None,
        segments=[],
        events=[_recent(event) for event in reversed(events[-RECENT:])],
        events_in_all=len(events),
    )


def export(profile: Profile, home: Home) -> list[bytes]:
    """Everything held, as JSON lines: the profile, then every event as it stands in the archive."""
    lines = [msgspec.json.encode({"kind": "profile", **msgspec.to_builtins(profile)})]
    for arrival, event in erasure.read_events(home, profile.ids):
        lines.append(msgspec.json.encode({"kind": "event", "arrival": arrival, "event": event}))
    return lines


def _purpose(row: Row, purpose: str, default: Consent) -> Purpose:
    said = row.consent.get(purpose)
    if said is None:
        return Purpose(allowed=getattr(default, purpose), said=None)
    return Purpose(allowed=said[1], said=timestamp(said[0]))


def _features(row: Row, now: int) -> dict[str, float | None]:
    closed = close(decode_rows(LAYOUTS["customer"], [pack(row)]), np.array([now / 1e6]))
    values = {name: float(value[0]) for name, value in closed.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _recent(event: Event) -> RecentEvent:
    return RecentEvent(
        time=timestamp(event.time),
        type=str(event.__struct_config__.tag),
        event=event.event if isinstance(event, Track) else None,
        properties=event.properties if isinstance(event, (Track, Page, Screen)) else {},
    )
