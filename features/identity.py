"""Which ids are one customer: an id that was joined to another hands over its row, and then every event.

Each partition has one writer, so what is handed over travels as an event. Pure: the worker and the replay share it.

- A joined id has an owner, which may have one in turn: events follow the chain to its end.
- Of a circle of links the latest is void: its id owns itself again and keeps what comes.
- Two known ids that claim one anonymous id: the past went to the first, the future goes to the latest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features import consent, traits
from features.aggregates.rows import LAYOUTS, Row, blank, merge, pack, unpack
from features.events.schema import Alias, ConsentGiven, Identify, Joined, StateRead

if TYPE_CHECKING:
    from features.events.schema import Event, Skimmed

LAYOUT = LAYOUTS["customer"]
_FIRST_SEEN = "customer__any__first_seen"
_FIRST_SEEN_AT = next(at for at, aggregate in enumerate(LAYOUT.aggregates) if aggregate.name == _FIRST_SEEN)
MOST_HOPS = 16
"""Ids that a chain is followed through when it is read; longer ones end there."""


def link_of(event: Event | Skimmed) -> str | None:
    """The id that an event joins its customer to; None if it joins nobody."""
    if isinstance(event, (Identify, Alias)) and event.user_id and event.user_id != event.customer:
        return event.user_id
    return None


def owned(row: Row, arrival: int) -> bool:
    """Whether an event that arrived for the row is its owner's."""
    return bool(row.owner) and arrival > row.linked


def hand_over(row: Row, target: str, arrival: int, received: int) -> Joined:
    """Empty the row and give it an owner; the event that brings what was in it there. When the id was seen first stays
    with it: experiments on visitors go by that.
    """
    numbers, ids = pack(row)
    assigned, assignment = assignment_of(row)
    joined = Joined(
        message_id=f"join:{row.text}:{arrival}",
        customer=target,
        time=received,
        received=received,
        via=[(row.text, arrival)],
        previous=row.text,
        linked=arrival,
        state=StateRead(
            layout=LAYOUT.version,
            applied=row.applied,
            numbers=np.array(numbers, np.float64).tobytes(),
            ids=np.array(ids, np.int64).tobytes(),
        ),
        assignment=assignment,
        assigned=assigned,
        consent=row.consent,
        traits=row.traits,
    )
    row.states = blank(LAYOUT, row.text).states
    row.owner, row.linked, row.applied, row.consent, row.traits = target, arrival, arrival, {}, {}
    row.assigned, row.assignment = min(assigned, arrival), assignment
    return joined


def carried(joined: Joined) -> Row | None:
    """The row that an event brings; None if it was packed under other declarations."""
    state = joined.state
    if state.layout != LAYOUT.version:
        return None
    numbers, ids = np.frombuffer(state.numbers, np.float64).tolist(), np.frombuffer(state.ids, np.int64).tolist()
    return unpack(LAYOUT, joined.previous, state.applied, numbers, ids)


def take_over(row: Row, joined: Joined, moved: Row | None) -> None:
    """Merge what an event brings into the row of its new owner (None: nothing that could be read)."""
    row.assigned, row.assignment = min(assignment_of(row), (joined.assigned, joined.assignment))
    row.consent = consent.merge(row.consent, joined.consent)
    row.traits = traits.merge(row.traits, joined.traits)
    if moved is not None:
        row.states = merge(LAYOUT, row, moved).states


def retell(row: Row, arrival: int, event: Event | None, moved: dict[tuple[str, int], Row]) -> bool:
    """What an archived event says of its id, in place; None is behaviour. Whether the view `identity` changes.

    `moved` takes and gives what ids handed over: as replayed, which knows later imports and other declarations, where
    the link is in the archive.
    """
    target = None if event is None else link_of(event)
    was_cut = bool(row.owner) and target is None
    if was_cut:
        cut(row)  # else the event would stand in the archive under the owner's id
    if target is not None and row.owner:
        row.owner = target
    elif target is not None and event is not None:
        moved[row.text, arrival] = msgspec.structs.replace(row)
        hand_over(row, target, arrival, event.received)
    elif isinstance(event, Joined):
        take_over(row, event, moved.pop((event.previous, event.linked), None) or carried(event))
    elif isinstance(event, ConsentGiven):
        row.consent = consent.take_in(row.consent, event)
    elif isinstance(event, Identify):
        row.traits = traits.take_in(row.traits, event)
    return was_cut or event is not None


def assignment_of(row: Row) -> tuple[int, str]:
    """(when, in microseconds, and under which id the customer was seen first): the smaller wins when two join."""
    if row.assignment:
        return row.assigned, row.assignment
    seen: list[float] = row.states[_FIRST_SEEN_AT]  # type: ignore[assignment]  # it has no keys
    return (int(seen[0] * 1e6) if seen[0] else _NEVER), row.text


_NEVER = (1 << 63) - 1


def closes_circle(row: Row, event: Event | Skimmed) -> bool:
    """Whether the event has come round in a circle of links of which the row's is the latest."""
    ids = [hop for hop, _ in event.via]
    if row.owner not in ids:
        return False
    start = len(ids) - 1 - ids[::-1].index(row.owner)
    return (row.linked, row.text) > max((linked, hop) for hop, linked in event.via[start:])


def cut(row: Row) -> None:
    """Let the id own itself again."""
    row.owner, row.linked = "", 0


def hand_on(event: Event | Skimmed, row: Row) -> Event | Skimmed:
    """The event as its customer's owner gets it; by its old `user_id` an identify would join the owner to that."""
    said = msgspec.structs.replace(event, customer=row.owner, via=[*event.via, (row.text, row.linked)])
    return msgspec.structs.replace(said, user_id=row.owner) if isinstance(said, Identify) and said.user_id else said
