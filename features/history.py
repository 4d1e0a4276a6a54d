"""The historical store from the archive: every state of every entity by arrival, as Feast's offline store joins it.

The same engine as the live worker's, in the same order within each partition, so that history equals what was served.
"""

from __future__ import annotations

import hashlib
import shutil
from array import array
from functools import partial, reduce
from itertools import chain
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features import archive
from features.aggregates.engine import Candidates, advance_candidates, advance_customer
from features.aggregates.keyed import KeyedKind
from features.aggregates.rows import LAYOUTS, Layout, Row, blank, merge, pack
from features.events.occurrences import number, read
from features.events.schema import CatalogPublished, Event, SnapshotTaken, decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from features.home import Home

SECOND = 1_000_000
ROWS_A_FILE = 50_000
LISTS_A_FILE = 4_000_000
"""Floats of packed states kept in memory before a file is written."""
STAMP = pa.timestamp("us", tz="UTC")
ATTRIBUTES = ("kind", "category", "price", "value")


class Rebuilt(msgspec.Struct):
    """All final states, by partition of the archive."""

    customers: dict[str, Row] = {}
    candidates: dict[int, Candidates] = {}
    cursors: dict[int, int] = {}
    events: int = 0
    rows: int = 0


class _Table:
    """Rows of one view on their way to Parquet."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._folder, self._layout = folder, layout
        kinds = [aggregate.kind for aggregate in layout.aggregates]
        self._keyed = any(isinstance(kind, KeyedKind) for kind in kinds)
        self._slots = sum(kind.slots for kind in kinds)
        folder.mkdir(parents=True)
        self._files = 0
        self.rows = 0
        self._clear()

    def _clear(self) -> None:
        self._entities: list[str] = []
        self._stamps, self._applied = array("q"), array("q")
        self._numbers, self._ids = array("d"), array("q")
        self._number_ends, self._id_ends = array("i", [0]), array("i", [0])

    def add(self, rows: list[Row], stamp: int) -> None:
        """Add states as of one instant."""
        self._entities += [row.text for row in rows]
        self._stamps.fromlist([stamp] * len(rows))
        self._applied.fromlist([row.applied for row in rows])
        if self._keyed:
            for row in rows:
                numbers, ids = pack(row)
                self._numbers.fromlist(numbers)
                self._ids.fromlist(ids)
                self._number_ends.append(len(self._numbers))
                self._id_ends.append(len(self._ids))
        else:  # most rows of a history are those of candidates, and pack to their states one after another
            states = chain.from_iterable(row.states for row in rows)
            self._numbers.fromlist(list(chain.from_iterable(states)))  # type: ignore[arg-type]  # there are only lists
            at = self._number_ends[-1]
            self._number_ends.extend(range(at + self._slots, len(self._numbers) + 1, self._slots))
            self._id_ends.extend([0] * len(rows))
        self.rows += len(rows)
        if len(self._entities) >= ROWS_A_FILE or len(self._numbers) >= LISTS_A_FILE:
            self.flush()

    def flush(self) -> None:
        if not self._entities and self._files:
            return
        table = pa.table(
            {
                "customer" if self._layout.view == "customer" else "candidate": pa.array(self._entities, pa.string()),
                "event_timestamp": pa.array(np.asarray(self._stamps, np.int64)).cast(STAMP),
                "applied": np.asarray(self._applied, np.int64),
                self._layout.numbers: pa.ListArray.from_arrays(
                    np.asarray(self._number_ends, np.int32), np.asarray(self._numbers, np.float64)
                ),
                self._layout.ids: pa.ListArray.from_arrays(
                    np.asarray(self._id_ends, np.int32), np.asarray(self._ids, np.int64)
                ),
            }
        )
        pq.write_table(table, self._folder / f"{self._files:06d}.parquet", compression="zstd", coerce_timestamps="us")
        self._files += 1
        self._clear()


def digest(home: Home) -> str:
    """What the historical store is a function of: the archive's files and the declarations."""
    parts = [f"{path.name}:{path.stat().st_size}" for path in archive.files(home.events)]
    parts += [layout.version for layout in LAYOUTS.values()]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def is_current(home: Home) -> bool:
    stamp = home.history / "digest"
    return stamp.exists() and stamp.read_text() == digest(home)


def rebuild(home: Home, progress: Callable[[int, int], None] = lambda _done, _all: None) -> Rebuilt:
    """Rebuild the historical store from the archive, beside the old one, and put it in its place.

    `progress` is told (events done, events in all).
    """
    version = digest(home)
    fresh = home.history.with_name("history.new")
    shutil.rmtree(fresh, ignore_errors=True)
    tables = {view: _Table(fresh / view, layout) for view, layout in LAYOUTS.items()}
    events = _read_events(home)
    rebuilt = Rebuilt(events=sum(len(part) for part in events.values()))
    _replay(events, tables, rebuilt, progress)
    for table in tables.values():
        table.flush()
        rebuilt.rows += table.rows
    _write_attributes(fresh / "attributes", events)
    (fresh / "digest").write_text(version)
    old = home.history.with_name("history.old")
    shutil.rmtree(old, ignore_errors=True)
    if home.history.exists():
        home.history.rename(old)
    fresh.rename(home.history)
    shutil.rmtree(old, ignore_errors=True)
    return rebuilt


def _read_events(home: Home) -> dict[int, list[tuple[int, Event]]]:
    table = archive.read(home.events, ["arrival", "partition", "payload"])
    events: dict[int, list[tuple[int, Event]]] = {}
    columns = (table[name].to_pylist() for name in ("arrival", "partition", "payload"))
    for arrival, partition, payload in zip(*columns, strict=True):
        events.setdefault(partition, []).append((arrival, decode(payload)))
    return events


def _markers(events: dict[int, list[tuple[int, Event]]]) -> list[tuple[int, dict[int, int]]]:
    """(time, cursors) of every snapshot: those that were taken, and one a second of imported history."""
    taken = {
        event.received: {int(partition): cursor for partition, cursor in event.cursors.items()}
        for part in events.values()
        for _, event in part
        if isinstance(event, SnapshotTaken)
    }
    for arrival, _ in events.get(archive.IMPORTED, []):
        taken.setdefault((arrival // SECOND + 1) * SECOND, {})
    return sorted(taken.items())


def _replay(
    events: dict[int, list[tuple[int, Event]]],
    tables: dict[str, _Table],
    rebuilt: Rebuilt,
    progress: Callable[[int, int], None],
) -> None:
    at = dict.fromkeys(events, 0)
    rebuilt.candidates = {partition: Candidates() for partition in sorted(events)}
    states = {
        view: [getattr(part, view) for part in rebuilt.candidates.values()] for view in ("candidate", "successors")
    }
    done = 0
    markers = _markers(events)
    # What no snapshot has held yet is in the states, and in a last one: behind every event and every marker.
    end = max([part[-1][0] for part in events.values()] + [time for time, _ in markers[-1:]], default=0) + 1
    for time, cursors in [*markers, (end, dict.fromkeys(events, end))]:
        changed: set[tuple[str, int]] = set()
        for partition, part in events.items():
            until = time if partition == archive.IMPORTED else cursors.get(partition, 0)
            start = at[partition]
            while at[partition] < len(part) and part[at[partition]][0] <= until:
                changed.update(_advance(partition, *part[at[partition]], tables["customer"], rebuilt))
                at[partition] += 1
            done += at[partition] - start
        for view, partitions in states.items():
            keys = sorted(key for of, key in changed if of == view)
            tables[view].add(_merge(LAYOUTS[view], partitions, keys), time)
        progress(done, rebuilt.events)
    rebuilt.cursors = {partition: part[-1][0] for partition, part in events.items()}


def _advance(partition: int, arrival: int, event: Event, table: _Table, rebuilt: Rebuilt) -> list[tuple[str, int]]:
    occurrence = read(event)
    if occurrence is None or not event.customer:
        return []
    row = rebuilt.customers.get(event.customer)
    if row is None:
        row = rebuilt.customers[event.customer] = blank(LAYOUTS["customer"], event.customer)
    changed = advance_candidates(rebuilt.candidates[partition], row, occurrence, arrival)
    advance_customer(row, occurrence)
    # Later than the row before, also where imported and live history of a customer overlap.
    row.applied = max(arrival, row.applied + 1)
    table.add([row], row.applied)
    return changed


def _merge(layout: Layout, partitions: list[dict[int, Row]], keys: list[int]) -> list[Row]:
    """The rows of `keys`, each merged over the partitions that have it."""
    if len(partitions) == 1:
        return [partitions[0][key] for key in keys]
    return [reduce(partial(merge, layout), [rows[key] for rows in partitions if key in rows]) for key in keys]


def _write_attributes(folder: Path, events: dict[int, list[tuple[int, Event]]]) -> None:
    published = [(at, event) for part in events.values() for at, event in part if isinstance(event, CatalogPublished)]
    rows = []
    for order, (arrival, event) in enumerate(sorted(published, key=lambda pair: pair[0])):
        # The first catalog holds for all imported history before it, too.
        stamp = arrival if order else 0
        rows += [{"candidate": str(c["id"]), "event_timestamp": stamp, **_attributes(c)} for c in event.candidates]
    schema = pa.schema(
        [
            ("candidate", pa.string()),
            ("event_timestamp", pa.int64()),
            ("kind", pa.string()),
            ("category", pa.string()),
            ("price", pa.float64()),
            ("value", pa.float64()),
        ]
    )
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema)
    at = schema.get_field_index("event_timestamp")
    table = table.set_column(at, "event_timestamp", table["event_timestamp"].cast(STAMP))
    pq.write_table(table, folder / "000000.parquet", coerce_timestamps="us")


def _attributes(candidate: dict[str, object]) -> dict[str, object]:
    return {
        "kind": str(candidate.get("kind") or ""),
        "category": str(candidate.get("category") or ""),
        "price": number(candidate.get("price")),
        "value": number(candidate.get("value")),
    }
