"""The order in which archived events count: that of their arrival within a partition, and between partitions, which
matters to customers who have events in several, from one snapshot to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.archive.tables import IMPORTED
from features.events.schema import Event, SnapshotTaken
from features.ids import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from features.aggregates.aging import Floats
    from features.aggregates.runs import Ints
    from features.extraction import Recorded

SECOND = 1_000_000


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """Behaviour in the order in which it counts, and what was said with its place among it."""

    recorded: Recorded
    rank: Ints
    times: Floats
    """Event i was at times[rank[i]], in seconds; `times` ascends."""
    spoken: list[tuple[int, int, Event]]
    """(how many behaviours count before it, arrival, event), in order."""


def order(recorded: Recorded) -> Ordered:
    said = sorted(recorded.spoken, key=lambda one: one[:2])
    _, ends = snapshots(recorded)
    turns = {
        one: turn for turn, one in enumerate(sorted(recorded.spans, key=lambda one: (recorded.spans[one][0], one)))
    }
    heard = [(arrival, partition, event) for arrival, partition, event in said if not isinstance(event, SnapshotTaken)]
    arrival = np.concatenate([recorded.arrival, np.array([one[0] for one in heard], np.int64)])
    partition = np.concatenate([recorded.partition, np.array([one[1] for one in heard], np.int64)])
    interval, turn = np.zeros(len(arrival), np.int64), np.zeros(len(arrival), np.int64)
    for one, place in turns.items():
        mine = partition == one
        interval[mine], turn[mine] = np.searchsorted(ends[one], arrival[mine]), place
    places = np.lexsort((arrival, turn, interval))
    size = len(recorded.arrival)
    behaviour = places < size
    before = np.cumsum(behaviour)[~behaviour].tolist()
    taken = recorded.take(places[behaviour])
    times, rank = np.unique(taken.time, return_inverse=True)
    return Ordered(
        recorded=taken,
        rank=rank.astype(np.int64),
        times=times / 1e6,
        spoken=[
            (count, heard[at - size][0], heard[at - size][2])
            for count, at in zip(before, places[~behaviour].tolist(), strict=True)
        ],
    )


def snapshots(recorded: Recorded) -> tuple[Ints, dict[int, Ints]]:
    """(times, partition -> the last arrival in each) of all snapshots; of imported history there is one a second."""
    said = sorted(recorded.spoken, key=lambda one: one[:2])
    taken = {event.received: event.cursors for _, _, event in said if isinstance(event, SnapshotTaken)}
    imported = recorded.arrival[recorded.partition == IMPORTED]
    heard = np.array([arrival for arrival, partition, _ in said if partition == IMPORTED], np.int64)
    seconds = (np.unique(np.concatenate([imported, heard]) // SECOND) + 1) * SECOND
    times = np.union1d(np.array(list(taken), np.int64), seconds)
    ends = {}
    for partition in recorded.spans:
        if partition == IMPORTED:
            ends[partition] = times
            continue
        cursors = np.zeros(len(times), np.int64)
        places = np.searchsorted(times, np.array(list(taken), np.int64))
        cursors[places] = [held.get(str(partition), 0) for held in taken.values()]
        ends[partition] = np.maximum.accumulate(cursors)
    return times, ends


def leave_out(recorded: Recorded, erased: Mapping[int, int]) -> Recorded:
    """Without what customers did until they were erased; `erased`: fingerprint -> arrival of that."""
    until = np.array([erased.get(fingerprint(customer), -(1 << 62)) for customer in recorded.customers], np.int64)
    kept = recorded.take(np.flatnonzero(recorded.arrival > until[recorded.customer]))
    spoken = [one for one in recorded.spoken if one[0] > erased.get(fingerprint(one[2].customer), -(1 << 62))]
    return msgspec.structs.replace(kept, spoken=spoken)
