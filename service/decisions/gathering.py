"""What is read for a decision under its deadline: the customer behind the ids, what must have come in, the ledger."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from features import stream
from features.events.schema import Attention
from service.decisions.identity import belonging, identify
from service.decisions.reserving import attend, inquire
from service.decisions.store import UnreachableError

if TYPE_CHECKING:
    from features.consent import Consent
    from features.store import Packed
    from features.traits import Traits
    from service.decisions.identity import Found
    from service.decisions.request import Request
    from service.decisions.reserving import Inquiry
    from service.decisions.store import DecisionStore
    from service.events.normalise import Event

WAIT_SHARE = 0.55
"""Of the deadline, for `after`."""
READ_SHARE = 0.6
"""Of the deadline, until what is read must be there; the rest is for scoring and the log."""
LEAST_SHARE = 0.1
"""Of the deadline, for reading the customer even after a long wait."""


class Gathered(msgspec.Struct, frozen=True):
    customer: str
    """Whom the request's ids belong to."""
    state: Packed | None
    events: list[Event]
    """The inline ones that are not in the state already."""
    readable: bool
    attention: Attention
    consent: Consent = {}
    """Of a customer who cannot be read, the catalog's default holds."""
    unit: str = ""
    """The id under which the customer was seen first."""
    visited: int = 0
    """When the visitor's own id was, in microseconds."""
    traits: Traits = {}


async def gather(
    store: DecisionStore, request: Request, scopes: list[str] | None, partitions: int, began: float, tracked: bool
) -> Gathered:
    """The customer's row, waiting for what must be in it, within the read's share of the deadline.

    `tracked`: whether the events of customers who said nothing count.
    """

    def left(share: float) -> float:
        return request.seconds * share - (time.perf_counter() - began)

    def for_reading() -> float:
        return max(left(READ_SHARE), request.seconds * LEAST_SHARE)

    events, tokens = request.events, request.tokens
    inquiry = inquire(store.shared, request.ids, scopes)

    async def look() -> Found:
        return await identify(store, request.ids, for_reading(), tracked, inquiry.commands)

    try:
        found = await look()
        if request.may_be_resent:
            place = stream.partition_of(found.customer, partitions)
            seen, last = await store.find_seen(place, [event.message_id for event in events], left(READ_SHARE))
            if seen:  # these are in the state as soon as the last event is
                events = [event for event in events if event.message_id not in seen]
                tokens = [*tokens, (place, last)]
        tokens = [token for token in tokens if token[1] not in found.fresh]
        if tokens:
            handed_on = await store.wait_for(tokens, left(WAIT_SHARE))
            found = await look()
            for owner in found.chain if handed_on else []:  # what came to these must be in, too
                newest = await store.last_arrival(stream.partition_of(owner, partitions), for_reading())
                await store.wait_for([newest], left(WAIT_SHARE))
                found = await look()
        events = [belonging(event, found) for event in events]
        attention = await _attend(store, inquiry, found, for_reading())
        who = found.consent, found.unit, found.visited, found.traits
        return Gathered(found.customer, found.row, events, True, attention, *who)
    except UnreachableError:
        return msgspec.structs.replace(unread(request), events=events)


def unread(request: Request) -> Gathered:
    """Nothing could be read in time."""
    return Gathered(request.customer, None, request.events, False, Attention(is_known=False))


async def _attend(store: DecisionStore, inquiry: Inquiry, found: Found, seconds: float) -> Attention:
    try:
        return await attend(store, inquiry, found, seconds)
    except UnreachableError:  # the customer was read, and is worth more than a lower rung
        return Attention(is_known=False)
