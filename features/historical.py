"""The historical store's Parquet files: rows of one view on their way there, under the schema that Feast reads."""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.aggregates.keyed import KeyedKind
from features.aggregates.rows import Layout, Row, pack
from features.events.occurrences import number
from features.events.schema import CatalogPublished, Event

if TYPE_CHECKING:
    from pathlib import Path

ROWS_A_FILE = 50_000
ROWS_A_GROUP = 8_192
"""A join reads whole groups, of those in which it has found something."""
LISTS_A_FILE = 4_000_000
"""Floats of packed states kept in memory before a file is written."""
STAMP = pa.timestamp("us", tz="UTC")

Identified = tuple[str, int, str, str, int, str, int, str]
IDENTITY_COLUMNS = ["customer", "event_timestamp", "owner", "consent", "linked", "assignment", "assigned", "traits"]
"""A row of the view `identity`: the id, when, and its features."""
WHOLE = ("event_timestamp", "linked", "assigned")
"""Those that are numbers."""


class Table:
    """Rows of one view on their way to Parquet."""

    def __init__(self, folder: Path, layout: Layout, prefix: str = "") -> None:
        """`prefix` begins the files' names, where several write into one folder."""
        self._folder, self._layout, self._prefix = folder, layout, prefix
        kinds = [aggregate.kind for aggregate in layout.aggregates]
        self._keyed = any(isinstance(kind, KeyedKind) for kind in kinds)
        self._slots = sum(kind.slots for kind in kinds)
        folder.mkdir(parents=True, exist_ok=bool(prefix))
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
        path = self._folder / f"{self._prefix}{self._files:06d}.parquet"
        pq.write_table(table, path, row_group_size=ROWS_A_GROUP, compression="zstd", coerce_timestamps="us")
        self._files += 1
        self._clear()


def write_identities(folder: Path, identities: list[Identified]) -> None:
    """The view `identity`: a row for each time that something was said of an id."""
    texts, whole = pa.string(), pa.int64()
    schema = pa.schema([(name, whole if name in WHOLE else texts) for name in IDENTITY_COLUMNS])
    rows = [dict(zip(schema.names, row, strict=True)) for row in identities]
    _write_stamped(folder, pa.Table.from_pylist(rows, schema))


def _write_stamped(folder: Path, table: pa.Table) -> None:
    at = table.schema.get_field_index("event_timestamp")
    folder.mkdir(parents=True)
    stamped = table.set_column(at, "event_timestamp", table["event_timestamp"].cast(STAMP))
    pq.write_table(stamped, folder / "000000.parquet", coerce_timestamps="us")


def write_attributes(folder: Path, events: dict[int, list[tuple[int, Event]]]) -> None:
    """The view `attributes`: what each published catalog says of its candidates."""
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
    _write_stamped(folder, pa.Table.from_pylist(rows, schema))


def _attributes(candidate: dict[str, object]) -> dict[str, object]:
    """As serving has them: what a catalog leaves out is what it means then, and an expression is no attribute."""
    value = candidate.get("value")
    return {
        "kind": str(candidate.get("kind") or "offer"),
        "category": str(candidate.get("category") or ""),
        "price": number(candidate.get("price")),
        "value": 1.0 if value is None else 0.0 if isinstance(value, str) else number(value),
    }
