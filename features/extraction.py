"""The archive as columns: what features look at in every event, file by file, without an object for each.

What is no behaviour (links, consent, snapshots) comes as it is; what no feature looks at, decisions above all, is not
even opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.archive.places import at, list_settled
from features.archive.reading import ATTEMPTS, load_file
from features.archive.tables import IMPORTED
from features.events.looks import look_at
from features.events.schema import Event, decode
from features.several import share

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from features.aggregates.aging import Floats
    from features.aggregates.runs import Ints
    from features.archive import Location
    from features.archive.naming import File

COLUMNS = ["arrival", "partition", "type", "event", "customer", "time", "payload"]
NAMES = {"page": "Page Viewed", "screen": "Screen Viewed"}
BEHAVIOUR = pa.array(["track", *NAMES])
TOGETHER = 4 << 20
"""Bytes of files that are read at once, at most, unless one is larger."""
SPOKEN = pa.array(["identify", "alias", "joined", "consent", "snapshot"])


class Recorded(msgspec.Struct, kw_only=True):
    """Behaviour in columns, in no order, and what else was said."""

    arrival: Ints
    partition: Ints
    time: Ints
    customer: Ints
    customers: list[str]
    name: Ints
    names: list[str]
    revenue: Floats
    item: Ints
    """Of each item, by event: the place of its event."""
    candidate: Ints
    category: Ints
    texts: dict[int, str]
    """Candidates by digest."""
    spoken: list[tuple[int, int, Event]]
    """Arrival, partition, event."""
    spans: dict[int, tuple[int, int]]
    """Partition -> arrivals of its first and its last event, of any type."""
    events: int

    def take(self, places: Ints) -> Recorded:
        """The events at some places, in that order."""
        new = np.full(len(self.arrival), -1)
        new[places] = np.arange(len(places))
        moved = new[self.item]
        order = np.argsort(moved, kind="stable")[np.count_nonzero(moved < 0) :]
        columns = ("arrival", "partition", "time", "customer", "name", "revenue")
        return msgspec.structs.replace(
            self,
            **{column: getattr(self, column)[places] for column in columns},
            item=moved[order],
            candidate=self.candidate[order],
            category=self.category[order],
        )


def extract(location: Location, progress: Callable[[int, int], None], pool: Executor) -> Recorded:
    """All that the archive holds. `progress` is told (events done, events in all, as far as that can be told)."""
    for attempt in range(ATTEMPTS):
        try:
            return _join(_read(location, progress, pool))
        except FileNotFoundError:  # merged into another since it was listed
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError


def _read(location: Location, progress: Callable[[int, int], None], pool: Executor) -> list[Recorded]:
    found = list_settled(at(location))
    runs = _runs(found)
    parts: list[Recorded] = []
    total, done, size = 0, 0, sum(file.size for file in found)
    for run, part in zip(runs, share(pool, _extract_files, [(location, run) for run in runs]), strict=True):
        parts.append(part)
        total, done = total + part.events, done + sum(file.size for file in run)
        progress(total, max(round(total * size / max(done, 1)), total))
    return parts


def _runs(found: list[File]) -> list[list[File]]:
    """The files in their order, some small ones together."""
    runs: list[list[File]] = []
    size = TOGETHER
    for file in found:
        if size + file.size > TOGETHER:
            runs.append([])
            size = 0
        runs[-1].append(file)
        size += file.size
    return runs


def _extract_files(location: Location, run: list[File]) -> Recorded:
    place = at(location)
    return _extract(pa.concat_tables([load_file(place, file, COLUMNS) for file in run]))


def _extract(table: pa.Table) -> Recorded:
    arrival, partition = table["arrival"].to_numpy(), table["partition"].to_numpy().astype(np.int64)
    spans = {
        int(one): (int(arrival[partition == one].min()), int(arrival[partition == one].max()))
        for one in np.unique(partition)
    }
    spoken = table.filter(pc.is_in(table["type"], value_set=SPOKEN)).select(["arrival", "partition", "payload"])
    said = zip(*(column.to_pylist() for column in spoken.columns), strict=True)
    about = pc.and_(pc.is_in(table["type"], value_set=BEHAVIOUR), pc.not_equal(table["customer"], ""))
    behaviour = table.filter(about)
    del table
    names = pc.coalesce(behaviour["event"], pc.replace_with_mask(*_named(behaviour["type"])))
    customer, customers = _encode(behaviour["customer"])
    name, named = _encode(names)
    times = behaviour["time"].to_numpy()
    looked = look_at(name.tolist(), named, times.tolist(), behaviour["payload"].to_pylist())
    return Recorded(
        arrival=behaviour["arrival"].to_numpy(),
        partition=behaviour["partition"].to_numpy().astype(np.int64),
        time=times,
        customer=customer,
        customers=customers,
        name=name,
        names=named,
        spoken=[(at, of, decode(payload)) for at, of, payload in said],
        spans=spans,
        events=len(arrival),
        **looked,
    )


def _named(types: pa.ChunkedArray) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Page and screen views by the names that features know them by."""
    whole = types.combine_chunks()
    views = pc.is_in(whole, value_set=pa.array(list(NAMES)))
    return whole, views, pa.array([NAMES[one] for one in whole.filter(views).to_pylist()], pa.string())


def _encode(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _join(parts: list[Recorded]) -> Recorded:
    """All files' events, each once."""
    customers, names = _Codes(), _Codes()
    texts: dict[int, str] = {}
    spans: dict[int, tuple[int, int]] = {}
    spoken: dict[tuple[int, int, str], tuple[int, int, Event]] = {}
    items, start = [], 0
    for part in parts:
        for key, text in part.texts.items():
            texts.setdefault(key, text)
        for one, (first, last) in part.spans.items():
            known = spans.get(one, (first, last))
            spans[one] = min(first, known[0]), max(last, known[1])
        spoken.update({(at, of, event.message_id): (at, of, event) for at, of, event in part.spoken})
        items.append(part.item + start)
        start += len(part.arrival)
    recorded = Recorded(
        arrival=_chain([part.arrival for part in parts]),
        partition=_chain([part.partition for part in parts]),
        time=_chain([part.time for part in parts]),
        customer=_chain([customers.take(part.customers)[part.customer] for part in parts]),
        customers=customers.texts,
        name=_chain([names.take(part.names)[part.name] for part in parts]),
        names=names.texts,
        revenue=_chain([part.revenue for part in parts]).astype(np.float64),
        item=_chain(items),
        candidate=_chain([part.candidate for part in parts]),
        category=_chain([part.category for part in parts]),
        texts=texts,
        spoken=list(spoken.values()),
        spans=spans,
        events=sum(part.events for part in parts),
    )
    order = np.lexsort((recorded.partition, recorded.arrival))
    arrival, partition = recorded.arrival[order], recorded.partition[order]
    again = (np.diff(arrival, prepend=-1) == 0) & (np.diff(partition, prepend=-2) == 0) & (partition != IMPORTED)
    return recorded.take(order[~again])


class _Codes:
    """One numbering of texts that each file numbers for itself."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}

    def take(self, texts: list[str]) -> Ints:
        for text in texts:
            if text not in self._codes:
                self._codes[text] = len(self.texts)
                self.texts.append(text)
        return np.array([self._codes[text] for text in texts], np.int64)


def _chain(arrays: list[Any]) -> Any:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)
