"""What some entries of a stream lead to, worked out before anything is written. Pure.

An event is applied to its customer's row, or handed on to whom the row belongs to, or not kept at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from features import consent, identity, traits
from features.aggregates.engine import advance_candidates, advance_customer
from features.aggregates.rows import LAYOUTS, blank
from features.events.occurrences import read
from features.events.schema import (
    CatalogPublished,
    ConsentGiven,
    DecisionHead,
    Erased,
    Identify,
    Joined,
    SnapshotTaken,
)

if TYPE_CHECKING:
    from features.aggregates.engine import Candidates
    from features.aggregates.rows import Row
    from features.events.schema import Event, Skimmed

UNFELT = (DecisionHead, CatalogPublished, SnapshotTaken)
"""Events that no customer's row has to be known for."""


def is_handed_on(event: Skimmed) -> bool:
    """Whether the owner of a joined id gets such an event: what joins or erases ids stays where it is."""
    return not isinstance(event, (*UNFELT, Erased)) and identity.link_of(event) is None


class Batch(msgspec.Struct, kw_only=True):
    """Everything to be written."""

    tracked: bool
    """Whether customers who said nothing may be tracked."""
    touched: dict[str, Row] = {}
    changed: dict[tuple[str, int], int] = {}
    """(view, digest) of candidates' rows -> the arrival that changed each last."""
    identities: dict[str, Row] = {}
    sent: list[Skimmed | Event] = []
    """Events for other ids."""
    handed: int = 0
    """Arrival of the last event that led to one of these."""
    elsewhere: set[int] = set()
    """Arrivals of the events that are not archived here: handed on, or not kept."""
    erased: set[str] = set()
    erased_at: dict[str, int] = {}
    """By which arrival each was erased, also of those that have come again since."""
    moved: dict[tuple[str, int], Row] = {}
    """What ids handed over, by id and arrival of the link, where it is known better than the event that brings it."""
    untracked: int = 0

    def apply(self, candidates: Candidates, applied: int, row: Row, arrival: int, event: Skimmed) -> None:
        """Take in one event of the row's customer; `applied` is the last arrival in `candidates`."""
        if arrival <= row.applied:
            self.pass_over(row, arrival, event)
            return
        target = identity.link_of(event)
        if target is None and identity.owned(row, arrival):
            if identity.closes_circle(row, event):
                identity.cut(row)
                self.identities[row.text] = row
            elif is_handed_on(event):
                self.sent.append(identity.hand_on(event, row))
                self.handed = arrival
                self.elsewhere.add(arrival)
                self._touch(row, arrival)
                return
        if isinstance(event, Erased):
            self._erase(row, arrival)
        elif target is not None:
            self._link(row, target, arrival, event)
        elif isinstance(event, Joined):
            moved = self.moved.pop((event.previous, event.linked), None)
            identity.take_over(row, event, moved or identity.carried(event))
            self.identities[row.text] = row
            self._touch(row, arrival)
        elif isinstance(event, ConsentGiven):
            row.consent = consent.take_in(row.consent, event)
            self.identities[row.text] = row
            self._touch(row, arrival)
        elif not consent.allows(row.consent, consent.TRACKING, self.tracked):
            self.elsewhere.add(arrival)
            self.untracked += 1
        elif isinstance(event, Identify):
            if event.traits:  # no behaviour: the row is as old as it was
                row.traits = traits.take_in(row.traits, event)
                self.identities[row.text] = row
        elif (occurrence := read(event)) is not None:
            if arrival > applied:
                for key in advance_candidates(candidates, row, occurrence, arrival):
                    self.changed[key] = arrival
            advance_customer(row, occurrence)
            self._touch(row, arrival)

    def pass_over(self, row: Row, arrival: int, event: Skimmed) -> None:
        """An event that was applied before, and is read again for the archive only."""
        if not is_handed_on(event):
            kept = not isinstance(event, Erased)
        else:
            kept = not identity.owned(row, arrival) and consent.allows(row.consent, consent.TRACKING, self.tracked)
        if not kept:
            self.elsewhere.add(arrival)

    def _link(self, row: Row, target: str, arrival: int, event: Skimmed) -> None:
        if identity.owned(row, arrival):
            row.owner = target
        else:
            self.sent.append(identity.hand_over(row, target, arrival, event.received))
            self.handed = arrival
        if isinstance(event, Identify) and event.traits:
            self.sent.append(traits.send_on(event, target, (row.text, row.linked)))
            self.handed = arrival
        self.identities[row.text] = row
        self._touch(row, arrival)

    def _erase(self, row: Row, arrival: int) -> None:
        empty = blank(LAYOUTS["customer"], row.text)
        row.states, row.owner, row.linked, row.assignment, row.assigned = empty.states, "", 0, "", 0
        row.consent, row.traits = {}, {}
        row.applied = arrival
        self.touched.pop(row.text, None)
        self.identities.pop(row.text, None)
        self.erased.add(row.text)
        self.erased_at[row.text] = arrival
        self.elsewhere.add(arrival)

    def _touch(self, row: Row, arrival: int) -> None:
        row.applied = arrival
        self.touched[row.text] = row
        self.erased.discard(row.text)
