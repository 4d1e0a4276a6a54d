"""The newest events of each customer, which a decision adds to the row while the worker has not come to them yet.

Their arrivals are kept beside the stream for a while. What is added is what the worker will make of the row: the same
events by the same code, in order, up to the first that is more than behaviour (what joins, allows or erases).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features import stream, traits
from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, blank, pack
from features.events.occurrences import read
from features.events.schema import Group, Identify, Page, Screen, Track, skim
from features.identity import link_of
from features.packed import Known, Packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.connection import Line
    from features.events.schema import Event, Skimmed

BEHAVIOUR = (Track, Page, Screen, Group, Identify)


def missing(kept: Sequence[int], floor: int) -> list[int]:
    """The arrivals after `floor`, up to which the row holds everything, of a list that is kept as `stream.APPEND` says.

    None if some that came between may be unknown: the list begins later.
    """
    return [arrival for arrival in kept if arrival > floor] if kept and kept[0] <= floor else []


async def bring_up(
    line: Line,
    known: Known,
    customer: str,
    partition: int,
    kept: Sequence[bytes],
    cursor: bytes | None,
    seconds: float | None = None,
) -> Known:
    """What is known of a customer, with the events in the row that the partition's worker, at `cursor`, is yet to see.

    As it is where there are none, or where they have gone, as the worker came to them meanwhile. Raises RedisError, or
    TimeoutError after `seconds`.
    """
    floor = max(int(cursor or 0), 0 if known.row is None else known.row.applied)
    arrivals = missing([int(one) for one in kept], floor)
    if not arrivals or known.owner:
        return known
    events = stream.events_key(partition)
    found = await line.ask_all([("XRANGE", events, f"{one}-0", f"{one}-0") for one in arrivals], seconds)
    if not all(found):
        return known
    entries = [(one, entry[1][1]) for one, [entry] in zip(arrivals, found, strict=True)]
    row, said = advance(known.row, dict(known.traits), customer, entries)
    fresh = [one for one in arrivals if row is not None and one <= row.applied]
    return msgspec.structs.replace(known, row=row, fresh=fresh, traits=said)


def advance(
    row: Packed | None, said: traits.Traits, customer: str, entries: Sequence[tuple[int, bytes]]
) -> tuple[Packed | None, traits.Traits]:
    """The customer's row and traits after these (arrival, payload), as the worker will write them."""
    layout = LAYOUTS["customer"]
    live = blank(layout, customer) if row is None else row.unpack(layout, customer)
    before = live.applied
    for arrival, payload in entries:
        event = _read(payload)
        if event is None or not is_behaviour(event):
            break
        if isinstance(event, Identify) and event.customer == customer:
            said = traits.take_in(said, event)
        occurrence = read(event)
        if occurrence is not None and event.customer == customer:  # two ids may share a list
            advance_customer(live, occurrence)
            live.applied = arrival
    if live.applied == before:
        return row, said
    numbers, ids = pack(live)
    return Packed(live.applied, np.array(numbers, np.float64), np.array(ids, np.int64)), said


def is_behaviour(event: Event | Skimmed) -> bool:
    """Whether an event does no more to its customer's row than its aggregates say."""
    return isinstance(event, BEHAVIOUR) and link_of(event) is None


def _read(payload: bytes) -> Skimmed | None:
    """None for what cannot be read: it goes to the dead letters when the worker comes to it."""
    try:
        return skim(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
