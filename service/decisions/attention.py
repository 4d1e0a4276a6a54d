"""What is known of the attention that was spent: a customer's contacts, and what all customers have used up.

Pure: what the ledger said, and what remains of each bound at the decision's time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.ids import digest
from models.policy import NOT_COUNTED
from service.decisions.pools import label_of

if TYPE_CHECKING:
    from features.events.schema import Attention
    from service.catalog.compiled import Compiled
    from service.decisions.pools import Bound, Pool

HOLD_SECONDS = 15 * 60
"""How long a candidate that was answered counts as seen before its exposure has come."""
FIELDS = ("at", "seen", "candidate", "category", "group", "placement", "channel")
"""Columns of contacts."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What showing one candidate takes up."""

    placement: str
    candidate: str
    contact: list[int] | None
    """FIELDS, where a cap or a personal window goes by the customer."""
    is_first_kept: bool
    """Whether its first exposure opens a personal window."""
    shared: list[tuple[str, int, int]]
    """(scope and period, label, limit)"""


def period(bound: Bound, now: int) -> str:
    """The scope of a shared bound in its present period: periods begin at multiples of their length since the epoch."""
    seconds = None if bound.limit is None else bound.limit.seconds
    return f"{bound.scope}\x1e{0 if seconds is None else int(now / 1e6 // seconds)}"


def remaining(bound: Bound, attention: Attention, compiled: Compiled, now: int) -> dict[int, int]:
    """Label -> how often it may still be shown; what was never shown is not there, and has all its limit."""
    if not bound.scope:
        return _left(bound, attention.contacts, compiled, now)
    spent = attention.used.get(period(bound, now), {})
    if bound.limit is not None:
        return {one: bound.limit.limit - count for one, count in spent.items()}
    most = dict(zip(bound.labels.tolist(), bound.most.tolist(), strict=True))
    return {one: most[one] - count for one, count in spent.items() if one in most}


def _left(bound: Bound, contacts: list[list[int]], compiled: Compiled, now: int) -> dict[int, int]:
    """The same of a cap that each customer has; a contact is few numbers, so that numpy would take longer."""
    limit = bound.limit
    if limit is None or limit.seconds is None:
        return {}
    since_seen = now - limit.seconds * 1e6
    since_answered = now - min(HOLD_SECONDS, limit.seconds) * 1e6
    left: dict[int, int] = {}
    for at, seen, candidate, category, group, placement, channel in contacts:
        if (seen <= since_seen if seen else at <= since_answered) or placement not in bound.placements:
            continue
        place = compiled.by_digest.get(candidate)  # what the catalog has no more counts nowhere
        if place is None or place >= len(limit.covers) or not limit.covers[place]:
            continue
        if bound.channel and channel != bound.channel:
            continue
        one = label_of(bound.axes, {"candidate": candidate, "category": category, "group": group})
        left[one] = left.get(one, limit.limit) - 1
    return left


def claim(pool: Pool, at: int, compiled: Compiled, now: int) -> Claim | None:
    """What showing the candidate at position `at` of the pool takes up; None if nothing counts it."""
    place = int(pool.places[at])
    shared, personal = [], False
    for bound in pool.bounds:
        if bound.labels[at] == NOT_COUNTED:
            continue
        if bound.scope:
            shared.append((period(bound, now), int(bound.labels[at]), int(bound.most[at])))
        else:
            personal = True
    is_first_kept = pool.personal is not None and not np.isnan(pool.personal[at])
    if not (shared or personal or is_first_kept):
        return None
    contact = [
        now,
        0,
        int(pool.ids[at]),
        int(pool.categories[at]),
        int(pool.groups[at]),
        digest(pool.placement.id),
        digest(pool.placement.channel),
    ]
    return Claim(
        placement=pool.placement.id,
        candidate=compiled.candidates[place].id,
        contact=contact if personal or is_first_kept else None,
        is_first_kept=is_first_kept,
        shared=shared,
    )


def spend(attention: Attention, claims: list[Claim]) -> Attention:
    """As if the claims had been granted: what other placements of the same page find."""
    if not claims:
        return attention
    used = {scope: dict(counts) for scope, counts in attention.used.items()}
    for one in claims:
        for scope, what, _ in one.shared:
            counts = used.setdefault(scope, {})
            counts[what] = counts.get(what, 0) + 1
    contacts = [*attention.contacts, *(one.contact for one in claims if one.contact is not None)]
    return msgspec.structs.replace(attention, contacts=contacts, used=used)
