"""Who asks: the customer whom the ids of a request belong to, with all that is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from features import consent, traits
from features.aggregates.columns import slot_of
from features.aggregates.rows import LAYOUTS, blank
from features.identity import MOST_HOPS, assignment_of, link_of
from service.experiments.allocation.epochs import NEW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from features.connection import Command
    from features.consent import Consent
    from features.store import Known, Packed
    from features.traits import Traits
    from service.decisions.store import DecisionStore
    from service.events.normalise import Event


FIRST_SEEN = slot_of(LAYOUTS["customer"], "customer__any__first_seen")


class Found(msgspec.Struct, frozen=True):
    """A customer."""

    chain: list[str]
    """The id asked for, and those that it was joined to, one after the other."""
    row: Packed | None
    """None: nothing is known."""
    consent: Consent
    fresh: frozenset[int] = frozenset()
    """Arrivals of the events in the row that the worker had not come to."""
    unit: str = ""
    """The id under which the customer was seen first: experiments go by it."""
    visited: int = 0
    """When the last of the ids was seen first, in microseconds, whoever it was joined to; as of `seen_of`."""
    traits: Traits = {}
    beside: Sequence[Any] = ()
    """The answers to what was asked beside."""

    @property
    def customer(self) -> str:
        return self.chain[-1]


async def identify(
    store: DecisionStore,
    ids: Sequence[str],
    seconds: float,
    tracked: bool = True,
    beside: Sequence[Command] = (),
) -> Found:
    """The customer of `ids`: the known id, if there is one, and the anonymous one. Raises UnreachableError.

    An anonymous id that nobody has been joined to yet is taken for the known one's: both rows are merged.
    `tracked`: whether the events of who said nothing count. `beside`: what else is asked in the same round trip.
    """
    read, answers = await store.read_customers(ids, seconds, tracked, beside)
    known: dict[str, Known] = dict(zip(ids, read, strict=True))
    chain = [ids[0]]
    while (owner := known[chain[-1]].owner) and owner not in chain and len(chain) < MOST_HOPS:
        if owner not in known:
            [known[owner]], _ = await store.read_customers([owner], seconds, tracked)
        chain.append(owner)
    row, said = known[chain[-1]].row, dict(known[chain[-1]].consent)
    told = dict(known[chain[-1]].traits)
    merged = [chain[-1]]
    for other in ids[1:]:
        stranger = known[other]
        if other not in chain and not stranger.owner and stranger.row is not None:
            row = stranger.row if row is None else row.merged(stranger.row)
        if other not in chain and not stranger.owner:
            said = consent.merge(said, dict(stranger.consent))
            told = traits.merge(told, dict(stranger.traits))
            merged.append(other)
    fresh = frozenset(arrival for one in known.values() for arrival in one.fresh)
    last = known[ids[-1]]
    visited = last.assigned if last.owner else seen_of(last.row)
    return Found(chain, row, said, fresh, _unit(merged, known), visited, told, answers)


def seen_of(row: Packed | None) -> int:
    """When a customer was seen first, in microseconds: NEW for one without events."""
    first = 0.0 if row is None else float(row.numbers[FIRST_SEEN])
    return int(first * 1e6) if first else NEW


def _unit(ids: Sequence[str], known: Mapping[str, Known]) -> str:
    """Of ids that are one customer, the one under which that was seen first: as a join will have it."""
    if len(ids) == 1:
        return known[ids[0]].assignment or ids[0]
    return min(_assignment(text, known[text]) for text in ids)[1]


def _assignment(text: str, known: Known) -> tuple[int, str]:
    if known.assignment:
        return known.assigned, known.assignment
    layout = LAYOUTS["customer"]
    return assignment_of(blank(layout, text) if known.row is None else known.row.unpack(layout, text))


def belonging(event: Event, found: Found) -> Event:
    """An inline event as the customer's own; one that joins ids stays with the id that it gives up."""
    if event.customer == found.customer or link_of(event) is not None:
        return event
    return msgspec.structs.replace(event, customer=found.customer)
