"""Final states of candidates, by partition, from the archive's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.aggregates.declared import TOTAL
from features.aggregates.engine import TOTAL_ID, Candidates
from features.aggregates.packing import Happened, PackedRows, pack_rows
from features.aggregates.rows import LAYOUTS, lay_out, unpack, unpack_flat
from features.ids import BITS

if TYPE_CHECKING:
    from features.aggregates.rows import Layout
    from features.aggregates.runs import Ints
    from features.ordering import Ordered

NONE = np.empty(0, np.int64)


class Followed(msgspec.Struct, frozen=True):
    """Events of a group, by their places among all, and the candidate that their customer had seen before each."""

    events: tuple[tuple[str, ...], ...]
    place: Ints
    before: Ints


def settle_candidates(ordered: Ordered, followed: list[Followed]) -> dict[int, Candidates]:
    """Partition -> states of its candidates."""
    recorded = ordered.recorded
    partitions = np.array(sorted(recorded.spans), np.int64)
    candidates = {int(partition): Candidates() for partition in partitions}
    if not len(recorded.arrival):
        return candidates
    # Within a partition, by arrival.
    event = np.concatenate([recorded.item, np.arange(len(recorded.arrival))])
    key = np.concatenate([recorded.candidate, np.full(len(recorded.arrival), TOTAL_ID)])
    of = np.searchsorted(partitions, recorded.partition)[event]
    order = np.lexsort((recorded.arrival[event], (of << BITS) + key))
    event, composite = event[order], ((of << BITS) + key)[order]
    present, entity = np.unique(composite, return_inverse=True)
    packed = pack_rows(LAYOUTS["candidate"], _happen(ordered, event, entity.astype(np.int64), len(present), NONE, NONE))
    lasts = np.flatnonzero(np.diff(entity, append=-1))
    firsts = np.flatnonzero(np.diff(entity, prepend=-1))
    texts = recorded.texts | {TOTAL_ID: TOTAL}
    applied = recorded.arrival[event[lasts]].tolist()
    for at, one in enumerate(present.tolist()):
        number, key_of = int(partitions[one >> BITS]), one & ((1 << BITS) - 1)
        row = unpack_flat(LAYOUTS["candidate"], texts[key_of], applied[at], packed.row(at)[0].tolist())
        candidates[number].candidate[key_of] = row
    appeared = present, recorded.arrival[event[firsts]]
    for slot, aggregate in enumerate(LAYOUTS["successors"].aggregates):
        layout = lay_out("successors", (aggregate,))
        mine = [one for one in followed if one.events == aggregate.events]
        place, before = (np.concatenate([NONE, *(getattr(one, name) for one in mine)]) for name in ("place", "before"))
        _settle_successors(ordered, partitions, appeared, place, before, layout, slot, candidates)
    return candidates


def _happen(ordered: Ordered, event: Ints, entity: Ints, size: int, item: Ints, candidate: Ints) -> Happened:
    recorded = ordered.recorded
    return Happened(
        size=size,
        entity=entity,
        rank=ordered.rank[event],
        times=ordered.times,
        name=recorded.name[event],
        names=recorded.names,
        revenue=np.zeros(len(event)),
        item=item,
        candidate=candidate,
        category=np.zeros(len(item), np.int64),
    )


def _settle_successors(
    ordered: Ordered,
    partitions: Ints,
    appeared: tuple[Ints, Ints],
    place: Ints,
    before: Ints,
    layout: Layout,
    slot: int,
    candidates: dict[int, Candidates],
) -> None:
    recorded = ordered.recorded
    of = np.searchsorted(partitions, recorded.partition[place])
    composite = (of << BITS) + before
    present, firsts = appeared
    at = np.minimum(np.searchsorted(present, composite), len(present) - 1)
    # Whom the partition had not seen at all by then has no row to be kept on.
    known = (before != 0) & (present[at] == composite) & (firsts[at] <= recorded.arrival[place])
    place, composite, before = place[known], composite[known], before[known]
    order = np.lexsort((recorded.arrival[place], composite))
    place, composite, before = place[order], composite[order], before[order]
    start, end = (np.searchsorted(recorded.item, place + side) for side in (0, 1))
    counts = end - start
    item = np.repeat(np.arange(len(place)), counts)
    after = recorded.candidate[np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - start, counts)]
    other = after != before[item]
    item, after = item[other], after[other]
    hit = np.unique(item)
    entities, entity = np.unique(composite[hit], return_inverse=True)
    item = np.searchsorted(hit, item)
    happened = _happen(ordered, place[hit], entity.astype(np.int64), len(entities), item, after)
    packed: PackedRows = pack_rows(layout, happened)
    applied = recorded.arrival[place[hit][np.flatnonzero(np.diff(entity, append=-1))]].tolist() if len(hit) else []
    for number, one in enumerate(entities.tolist()):
        partition, key = int(partitions[one >> BITS]), one & ((1 << BITS) - 1)
        row = candidates[partition].row("successors", key, recorded.texts[key])
        numbers, ids = packed.row(number)
        row.states[slot] = unpack(layout, "", 0, numbers.tolist(), ids.tolist()).states[0]
        row.applied = max(row.applied, applied[number])
