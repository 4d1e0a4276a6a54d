"""Final states from the archive's columns: what one event after another would leave of every customer and candidate,
to the bit, without a state for each event in between. Customers that links touch go through the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features import consent, identity, traits
from features.aggregates.engine import LAST_SEEN, Candidates, advance_customer
from features.aggregates.packing import Happened, PackedRows, Selection, pack_rows
from features.aggregates.rows import LAYOUTS, Row, blank
from features.events.occurrences import Item, Occurrence
from features.events.schema import ConsentGiven, Event, Joined
from features.final_candidates import Followed, settle_candidates
from features.ordering import Ordered, leave_out, order

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor, Future

    from features.aggregates.runs import Ints
    from features.extraction import Recorded

LAYOUT = LAYOUTS["customer"]
Moved = dict[tuple[str, int], Row]
Spoken = list[tuple[int, int, Event]]


class Alone(msgspec.Struct, kw_only=True):
    """Customers whom no link touches."""

    texts: list[str]
    applied: Ints
    packed: PackedRows
    """Of `texts`, in their order."""
    consents: dict[str, consent.Consent]
    traits: dict[str, traits.Traits]


class Final(msgspec.Struct, kw_only=True):
    """What decisions need of the archive."""

    alone: Alone
    rows: dict[str, Row]
    """The other customers."""
    moved: Moved
    """What ids handed over, where those who get it have not taken it yet."""
    candidates: Future[dict[int, Candidates]]
    """By partition."""
    cursors: dict[int, int]
    events: int


def settle(recorded: Recorded, erased: Mapping[int, int], pool: Executor) -> Final:
    """`erased`: fingerprint -> arrival up to which a customer's events do not count."""
    ordered = order(leave_out(recorded, erased) if erased else recorded)
    told = {event.customer for *_, event in ordered.spoken if _tells(event) and not isinstance(event, ConsentGiven)}
    linked = np.array([customer in told for customer in ordered.recorded.customers], bool)[ordered.recorded.customer]
    rows, moved, followed = _settle_told(ordered, told, np.flatnonzero(linked))
    crowd = _gather(ordered, told, np.flatnonzero(~linked))
    followed += _follow(crowd.happened, crowd.places)
    silent = msgspec.structs.replace(ordered, spoken=[], recorded=msgspec.structs.replace(ordered.recorded, spoken=[]))
    candidates = pool.submit(settle_candidates, silent, followed)
    return Final(
        alone=Alone(
            texts=crowd.texts,
            applied=crowd.applied,
            packed=pack_rows(LAYOUT, crowd.happened),
            consents=_consents(crowd.spoken),
            traits=traits.collect((event for *_, event in ordered.spoken), told),
        ),
        rows=rows,
        moved=moved,
        candidates=candidates,
        cursors={partition: last for partition, (_, last) in recorded.spans.items()},
        events=recorded.events,
    )


class _Crowd(msgspec.Struct, frozen=True):
    """What the customers did whom no link touches."""

    texts: list[str]
    applied: Ints
    happened: Happened
    places: Ints
    """Of what happened, among all."""
    spoken: Spoken


def _consents(spoken: Spoken) -> dict[str, consent.Consent]:
    consents: dict[str, consent.Consent] = {}
    for _, _, event in spoken:
        if isinstance(event, ConsentGiven):
            consents[event.customer] = consent.take_in(consents.get(event.customer, {}), event)
    return consents


def _gather(ordered: Ordered, told: set[str], places: Ints) -> _Crowd:
    recorded = ordered.recorded
    spoken: Spoken = [
        (before, arrival, event)
        for before, arrival, event in ordered.spoken
        if isinstance(event, ConsentGiven) and event.customer and event.customer not in told
    ]
    codes = {text: code for code, text in enumerate(recorded.customers)}
    texts = [*recorded.customers]
    for _, _, event in spoken:
        if event.customer not in codes:
            codes[event.customer] = len(texts)
            texts.append(event.customer)
    speaker = np.array([codes[event.customer] for _, _, event in spoken], np.int64)
    present, entity = np.unique(np.concatenate([recorded.customer[places], speaker]), return_inverse=True)
    entity = entity.astype(np.int64)
    happened, at = _happen(ordered, places, entity[: len(places)], len(present))
    applied = _stamp(ordered, places, entity, spoken, len(present))
    return _Crowd([texts[code] for code in present.tolist()], applied, happened, at, spoken)


def _happen(ordered: Ordered, places: Ints, entity: Ints, size: int) -> tuple[Happened, Ints]:
    """Events of customers by customer, and the place of each among all."""
    recorded = ordered.recorded
    at = places[np.argsort(entity, kind="stable")]
    taken = recorded.take(at)
    happened = Happened(
        size=size,
        entity=np.sort(entity),
        rank=ordered.rank[at],
        times=ordered.times,
        name=taken.name,
        names=taken.names,
        revenue=taken.revenue,
        item=taken.item,
        candidate=taken.candidate,
        category=taken.category,
    )
    return happened, at


def _stamp(ordered: Ordered, places: Ints, entity: Ints, spoken: Spoken, size: int) -> Ints:
    """The arrival that each row is of: that of the last event, and later than the row before it."""
    arrival = np.concatenate([ordered.recorded.arrival[places], np.array([one[1] for one in spoken], np.int64)])
    behind = np.concatenate([places * 2 + 1, np.array([one[0] * 2 for one in spoken], np.int64)])
    sorting = np.lexsort((behind, entity))
    who, arrival = entity[sorting], arrival[sorting]
    counts = np.bincount(who, minlength=size)
    starts = np.cumsum(counts) - counts
    number = np.arange(len(who)) - starts[who]
    # applied = max(arrival, applied + 1), again and again.
    return np.maximum.reduceat(arrival - number, starts) + counts - 1 if size else np.empty(0, np.int64)


def _follow(happened: Happened, at: Ints) -> list[Followed]:
    """For each event that may follow another: where it is, and the candidate that the customer had seen before."""
    selection = Selection(happened)
    followed = []
    for events in LAST_SEEN:
        runs = selection.runs(events[0], "candidate", "candidate")
        leading = runs.leading
        before = np.zeros(len(leading), np.int64)
        held = leading[:-1]
        before[1:] = np.where(held >= 0, runs.amount[held], 0.0).astype(np.int64)
        before[runs.starts] = 0
        followed.append(Followed(events, at[selection.places(events[0], "candidate")], before))
    return followed


def _settle_told(ordered: Ordered, told: set[str], places: Ints) -> tuple[dict[str, Row], Moved, list[Followed]]:
    """One event after another, of the customers whom links touch."""
    rows: dict[str, Row] = {}
    moved: Moved = {}
    found: dict[tuple[tuple[str, ...], ...], list[tuple[int, int]]] = {events: [] for events in LAST_SEEN}
    spoken = [
        one for one in ordered.spoken if one[2].customer in told and (_tells(one[2]) or traits.is_telling(one[2]))
    ]
    steps: list[tuple[int, tuple[int, int, Event] | None]] = [(place * 2 + 1, None) for place in places.tolist()]
    steps = sorted([*steps, *((2 * one[0], one) for one in spoken)], key=lambda step: step[0])
    recorded = ordered.recorded
    starts = np.searchsorted(recorded.item, np.arange(len(recorded.arrival) + 1)) if len(places) else recorded.item
    for step, one in steps:
        place = step // 2
        text = recorded.customers[int(recorded.customer[place])] if one is None else one[2].customer
        row = rows.get(text)
        if row is None:
            row = rows[text] = blank(LAYOUT, text)
        arrival = int(recorded.arrival[place]) if one is None else one[1]
        stamp = max(arrival, row.applied + 1)
        identity.retell(row, arrival, None if one is None else one[2], moved)
        if one is not None and traits.is_telling(one[2]):
            continue  # no behaviour: the row is as old as it was
        if one is None:
            occurrence = _occurrence(ordered, place, int(starts[place]), int(starts[place + 1]))
            for events, last_at in LAST_SEEN.items():
                if occurrence.name in events[0]:
                    found[events].append((place, int(row.states[last_at][0])))  # type: ignore[index]  # of a Last
            advance_customer(row, occurrence)
        row.applied = stamp
    followed = []
    for events, pairs in found.items():
        columns = np.array(pairs, np.int64).reshape(-1, 2)
        followed.append(Followed(events, columns[:, 0], columns[:, 1]))
    return rows, moved, followed


def _tells(event: Event) -> bool:
    return isinstance(event, (Joined, ConsentGiven)) or identity.link_of(event) is not None


def _occurrence(ordered: Ordered, place: int, start: int, end: int) -> Occurrence:
    recorded = ordered.recorded
    pairs = zip(recorded.candidate[start:end].tolist(), recorded.category[start:end].tolist(), strict=True)
    return Occurrence(
        recorded.names[int(recorded.name[place])],
        float(ordered.times[ordered.rank[place]]),
        tuple(Item(recorded.texts[key], key, category) for key, category in pairs),
        float(recorded.revenue[place]),
    )
