"""A person in the files: which ids are theirs, what the archive holds of them, and the files written without them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import archive, checkpoints
from features.events.schema import Joined, decode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from features.events.schema import Event
    from features.home import Home

VIEWS = ("customer", "identity")
"""Views of the historical store that are about customers."""


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken out."""

    events: int
    archive_files: int
    history_rows: int


def find_ids(home: Home, chain: Iterable[str]) -> list[str]:
    """The ids of `chain` (one, and those it was joined to), and all whose past was joined to any of them."""
    previous: dict[str, set[str]] = {}
    for payload in archive.read(home.archive, ["payload"], types=["joined"])["payload"].to_pylist():
        event = decode(payload)
        if isinstance(event, Joined):
            # It may have passed through others on its way: they are joined too.
            previous.setdefault(event.customer, set()).update([event.previous, *(hop for hop, _ in event.via)])
    found = list(dict.fromkeys(chain))
    for one in found:  # grows while it is walked
        found += [other for other in sorted(previous.get(one, ())) if other not in found]
    return found


def read_events(home: Home, customers: Iterable[str]) -> list[tuple[int, Event]]:
    """(arrival, event) of everything that the archive holds of some ids, in order."""
    table = archive.read(home.archive, ["arrival", "payload"], customers=customers)
    rows = zip(table["arrival"].to_pylist(), table["payload"].to_pylist(), strict=True)
    return [(arrival, decode(payload)) for arrival, payload in sorted(rows)]


def erase(home: Home, customers: Iterable[str]) -> Cleaned:
    """Write every file that mentions one of the ids again without them, each at once."""
    gone = list(customers)
    events, files = archive.erase(home.archive, gone)
    checkpoints.forget(home)
    rows = [_rewrite(path, gone) for view in VIEWS for path in sorted((home.history / view).glob("*.parquet"))]
    return Cleaned(events=events, archive_files=files, history_rows=sum(rows))


def _rewrite(path: Path, gone: list[str]) -> int:
    """How many rows went."""
    column = pq.read_table(path, columns=["customer"])["customer"]
    hit = pc.is_in(column, value_set=pa.array(gone, column.type))
    count = int(pc.sum(hit).as_py() or 0)
    if count:
        table = pq.read_table(path).filter(pc.invert(hit))
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        pq.write_table(table, temporary, compression="zstd", row_group_size=64 * 1024, coerce_timestamps="us")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(path)
    return count
