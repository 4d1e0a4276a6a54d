"""What customers allow: for each purpose the latest that they said, else the catalog's default. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from features.events.schema import ConsentGiven

TRACKING, PERSONALISATION, MARKETING = PURPOSES = ("tracking", "personalisation", "marketing")

Consent = dict[str, tuple[int, bool]]
"""Purpose -> when the customer spoke of it last (microseconds), and whether it is allowed."""


def allows(said: Mapping[str, tuple[int, bool]], purpose: str, default: bool) -> bool:
    return said.get(purpose, (0, default))[1]


def take_in(said: Consent, event: ConsentGiven) -> Consent:
    """With what an event says."""
    return merge(said, {purpose: (event.time, allowed) for purpose, allowed in event.purposes.items()})


def merge(one: Consent, other: Consent) -> Consent:
    """What counts of two ids that are one customer: the latest, and of two at one time the refusal."""
    both = one | other
    for purpose in one.keys() & other.keys():
        both[purpose] = max(one[purpose], other[purpose], key=lambda said: (said[0], not said[1]))
    return both
