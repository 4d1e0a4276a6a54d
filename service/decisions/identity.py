"""Who asks: the customer whom the ids of a request belong to, with all that is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from features import consent
from features.identity import MOST_HOPS, link_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.consent import Consent
    from features.store import Known, Packed
    from service.decisions.store import DecisionStore
    from service.events.normalise import Event


class Found(msgspec.Struct, frozen=True):
    """A customer."""

    chain: list[str]
    """The id asked for, and those that it was joined to, one after the other."""
    row: Packed | None
    """None: nothing is known."""
    consent: Consent

    @property
    def customer(self) -> str:
        return self.chain[-1]


async def identify(store: DecisionStore, ids: Sequence[str], seconds: float) -> Found:
    """The customer of `ids`: the known id, if there is one, and the anonymous one. Raises UnreachableError.

    An anonymous id that nobody has been joined to yet is taken for the known one's: both rows are merged.
    """
    known: dict[str, Known] = dict(zip(ids, await store.read_customers(ids, seconds), strict=True))
    chain = [ids[0]]
    while (owner := known[chain[-1]].owner) and owner not in chain and len(chain) < MOST_HOPS:
        if owner not in known:
            [known[owner]] = await store.read_customers([owner], seconds)
        chain.append(owner)
    row, said = known[chain[-1]].row, dict(known[chain[-1]].consent)
    for other in ids[1:]:
        stranger = known[other]
        if other not in chain and not stranger.owner and stranger.row is not None:
            row = stranger.row if row is None else row.merged(stranger.row)
        if other not in chain and not stranger.owner:
            said = consent.merge(said, dict(stranger.consent))
    return Found(chain, row, said)


def belonging(event: Event, found: Found) -> Event:
    """An inline event as the customer's own; one that joins ids stays with the id that it gives up."""
    if event.customer == found.customer or link_of(event) is not None:
        return event
    return msgspec.structs.replace(event, customer=found.customer)
