"""The historical store from the archive's columns, in shards: customers first, each with those it is joined to, then
candidates. The rows are those of `history`, to the bit, whoever writes them; only their order in files is another.

Nothing here knows where a shard is worked on: another process, another machine that sees the folder, or this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features import archive, history, identity
from features.aggregates.engine import TOTAL_ID
from features.candidate_shards import Passed, write_candidates
from features.customer_shards import Part, write_customers
from features.events.schema import Joined, decode
from features.extraction import extract
from features.historical import write_attributes, write_identities
from features.ids import fingerprint
from features.ordering import order, snapshots
from features.several import share

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from features.aggregates.runs import Ints
    from features.events.schema import Event
    from features.historical import Identified
    from features.home import Home
    from features.ordering import Ordered

EVENTS = 200_000
"""Of a shard, about: what bounds its memory."""
FEWEST = 4
UNUSED, NOTHING = ("customer", "revenue", "time"), np.empty(0, np.int64)
"""Of events, what candidates do not look at."""


def rebuild(home: Home, pool: Executor, progress: Callable[[int, int], None] = lambda _done, _all: None) -> int:
    """Rebuild the historical store, beside the old one, and put it in its place -> how many rows it has.

    `progress` is told (parts of the work done, in all). The workers of `pool` see the home.
    """
    with history.replacing(home) as fresh:
        # Nothing else holds what was extracted: in another order it stands in memory a second time.
        ordered = order(extract(home.archive, lambda done, total: progress(done, 4 * max(total, done)), pool))
        count = max(FEWEST, len(ordered.recorded.arrival) // EVENTS)
        total = 4 * max(ordered.recorded.events, 1)

        def tell(done: int) -> None:
            progress(total // 4 + done * (total - total // 4) // (2 * count), total)

        identities, passed, rows = _customers(fresh / "customer", ordered, count, pool, tell)
        rows += _candidates(fresh, ordered, passed, count, pool, tell)
        write_identities(fresh / "identity", identities)
        write_attributes(fresh / "attributes", {0: _catalogs(home)})
        progress(total, total)
    return rows


def _customers(
    folder: Path, ordered: Ordered, count: int, pool: Executor, tell: Callable[[int], None]
) -> tuple[list[Identified], Passed, int]:
    """(what was said of ids, what preceded which event, rows)"""
    recorded = ordered.recorded
    owners = _join(ordered)
    shard = np.array([_shard(owners, text, count) for text in recorded.customers], np.int64)[recorded.customer]
    said: list[list[tuple[int, int, Event]]] = [[] for _ in range(count)]
    for one in ordered.spoken:
        said[_shard(owners, one[2].customer, count)].append(one)
    places = [np.flatnonzero(shard == number) for number in range(count)]
    arguments = ((folder, number, _part(ordered, places[number], said[number])) for number in range(count))
    identities: list[Identified] = []
    found: list[Passed] = []
    rows = 0
    for number, told in enumerate(share(pool, write_customers, arguments)):
        identities += told.identities
        rows += told.rows
        found.append(msgspec.structs.replace(told.passed, place=places[number][told.passed.place]))
        tell(number + 1)
    columns = [np.concatenate([getattr(one, name) for one in found]) for name in ("place", "turn", "before")]
    sorting = np.lexsort((columns[1], columns[0]))
    return sorted(identities, key=lambda row: row[1]), Passed(*(column[sorting] for column in columns)), rows


def _part(ordered: Ordered, places: Ints, said: list[tuple[int, int, Event]]) -> Part:
    """Some customers' behaviour, and what was said of them, both in their order."""
    taken = ordered.recorded.take(places)
    present, customer = np.unique(taken.customer, return_inverse=True)
    names = [taken.customers[code] for code in present.tolist()]
    lean = msgspec.structs.replace(taken, customer=customer.astype(np.int64), customers=names, spoken=[])
    before = np.searchsorted(places, np.array([one[0] for one in said], np.int64)).tolist()
    spoken = [(at, arrival, event) for at, (_, arrival, event) in zip(before, said, strict=True)]
    return Part(recorded=lean, times=ordered.times[ordered.rank[places]], spoken=spoken)


def _join(ordered: Ordered) -> dict[str, str]:
    """Id -> one that it is joined to, directly or not: all of a chain, or of a circle, come to the same id."""
    owners: dict[str, str] = {}
    for _, _, event in ordered.spoken:
        other = event.previous if isinstance(event, Joined) else identity.link_of(event)
        if other:
            one, two = _end(owners, event.customer), _end(owners, other)
            if one != two:
                owners[one] = two
    return owners


def _end(owners: dict[str, str], text: str) -> str:
    while (owner := owners.get(text)) is not None:
        text = owner
    return text


def _shard(owners: dict[str, str], text: str, count: int) -> int:
    return fingerprint(_end(owners, text)) % count


def _candidates(
    folder: Path,
    ordered: Ordered,
    passed: Passed,
    count: int,
    pool: Executor,
    tell: Callable[[int], None],
) -> int:
    behaviour = ordered.recorded
    times, ends = snapshots(behaviour)
    end = max([last for _, last in behaviour.spans.values()] + times[-1:].tolist(), default=0) + 1
    interval = np.zeros(len(behaviour.arrival), np.int64)
    for partition, lasts in ends.items():
        mine = behaviour.partition == partition
        interval[mine] = np.searchsorted(lasts, behaviour.arrival[mine])
    stamps = np.append(times, end)[interval]
    of_items, of_before = behaviour.candidate % count, passed.before % count
    partitions = sorted(behaviour.spans)

    def gather(number: int) -> tuple[Any, ...]:
        """What `write_candidates` asks for."""
        wanted = np.zeros(len(behaviour.arrival), np.bool_)
        wanted[behaviour.item[of_items == number]] = True
        wanted[passed.place[of_before == number]] = True
        if TOTAL_ID % count == number:
            wanted[:] = True
        places = np.flatnonzero(wanted)
        lean = msgspec.structs.replace(
            behaviour.take(places), customers=[], spoken=[], **dict.fromkeys(UNUSED, NOTHING)
        )
        mine = wanted[passed.place] & (of_before == number)
        followed = Passed(np.searchsorted(places, passed.place[mine]), passed.turn[mine], passed.before[mine])
        told = ordered.times[ordered.rank[places]]
        return folder, number, count, partitions, lean, told, stamps[places], followed

    rows = 0
    for number, found in enumerate(share(pool, write_candidates, map(gather, range(count)))):
        rows += found
        tell(count + number + 1)
    return rows


def _catalogs(home: Home) -> list[tuple[int, Event]]:
    table = archive.read(home.archive, ["arrival", "payload"], types=["catalog"])
    return [
        (at, decode(payload)) for at, payload in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]
