"""The archive's columns, their version, and what older files lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from features.archive.places import ArchiveError
from features.events.schema import Event, Skimmed, Track, encode
from features.reserved import CANARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

IMPORTED = -1
"""The partition of imported events."""

VERSION = 2
"""Of the columns; 1 had no version, and lay in one folder. A later one may add columns: older files read as null."""
VERSION_KEY = b"kairos.archive"

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
STORED = SCHEMA.with_metadata({VERSION_KEY: str(VERSION).encode()})


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


def require_version(metadata: Mapping[bytes, bytes] | None, name: str) -> None:
    """Raises ArchiveError for a file of a newer version."""
    found = (metadata or {}).get(VERSION_KEY, b"1").decode()
    if not found.isdecimal() or int(found) > VERSION:
        raise ArchiveError(f"{name} of the archive has version {found}, this Kairos knows up to {VERSION}: use a newer")


def conform(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """`columns` of a file of any version, in the present types; null where it lacks them."""
    present = set(table.column_names)
    arrays = [
        table[name].cast(SCHEMA.field(name).type) if name in present else pa.nulls(len(table), SCHEMA.field(name).type)
        for name in columns
    ]
    return pa.table(arrays, schema=pa.schema([SCHEMA.field(name) for name in columns]))
