"""The event archive: Parquet files named by partition and range of arrival, written whole and renamed into place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.events.schema import Event, Skimmed, Track, encode
from features.reserved import CANARY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

IMPORTED = -1
"""The partition of imported events."""

SCHEMA = pa.schema(
    [
        ("arrival", pa.int64()),
        ("partition", pa.int32()),
        ("type", pa.string()),
        ("event", pa.string()),
        ("customer", pa.string()),
        ("message_id", pa.string()),
        ("time", pa.int64()),
        ("payload", pa.binary()),
    ]
)


class Entry(msgspec.Struct, frozen=True):
    """One archived event: its arrival in microseconds, the event, and its bytes."""

    arrival: int
    event: Event | Skimmed
    payload: bytes


def tabulate(partition: int, entries: Iterable[Entry]) -> pa.Table:
    """Entries of one partition as the archive's columns, without those that only measure."""
    rows = [entry for entry in entries if entry.event.customer != CANARY]
    return pa.table(
        {
            "arrival": [entry.arrival for entry in rows],
            "partition": [partition] * len(rows),
            "type": [str(entry.event.__struct_config__.tag) for entry in rows],
            "event": [entry.event.event if isinstance(entry.event, Track) else None for entry in rows],
            "customer": [entry.event.customer for entry in rows],
            "message_id": [entry.event.message_id for entry in rows],
            "time": [entry.event.time for entry in rows],
            "payload": [entry.payload for entry in rows],
        },
        schema=SCHEMA,
    )


def entry(arrival: int, event: Event) -> Entry:
    return Entry(arrival, event, encode(event))


def write(folder: Path, name: str, table: pa.Table) -> Path | None:
    """Write a table sorted by arrival as `<name>-<first>-<last>.parquet`; None if it is empty."""
    if not len(table):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    span = pc.min_max(table["arrival"]).as_py()
    path = folder / f"{name}-{span['min']}-{span['max']}.parquet"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    pq.write_table(table, temporary, compression="zstd", row_group_size=64 * 1024)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.rename(path)
    return path


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def archived_until(folder: Path, partition: int) -> int:
    """Arrival of the last event of a partition that is in the archive; 0 if none is."""
    return max((int(path.stem.rsplit("-", 1)[1]) for path in folder.glob(f"{partition}-*.parquet")), default=0)


def read(folder: Path, columns: list[str] | None = None, types: Iterable[str] | None = None) -> pa.Table:
    """All archived events by arrival, then partition; only those of `types` if given."""
    wanted = None if types is None else pc.field("type").isin(list(types))
    tables = [pq.read_table(path, columns=_with_order(columns), filters=wanted) for path in files(folder)]
    if not tables:
        empty = SCHEMA.empty_table()
        return empty if columns is None else empty.select(columns)
    table = pa.concat_tables(tables)
    order = pc.sort_indices(table, sort_keys=[("arrival", "ascending"), ("partition", "ascending")])
    table = table.take(order)
    return table if columns is None else table.select(columns)


def _with_order(columns: list[str] | None) -> list[str] | None:
    return None if columns is None else [*columns, *({"arrival", "partition"} - set(columns))]
