"""Writing the archive: a table becomes one file a day of arrival."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.archive.naming import DAY, IMPORT, write_name
from features.archive.places import at
from features.archive.tables import STORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from features.archive.places import Location

GROUP_ROWS = 64 * 1024


def write(location: Location, of: str, table: pa.Table) -> list[str]:
    """Write a table of a partition, or of an import (`import-<digest>`) -> the files' paths; none if it is empty.

    Of a partition each day stands by itself; an import is there as a whole or not at all, where files can be renamed.
    """
    parts = {write_name(of, first, last): partial(fill, [part]) for first, last, part in by_day(table)}
    under = of if of.startswith(IMPORT) else ""
    if parts:
        at(location).put(parts, under)
    return [f"{under}/{path}" if under else path for path in parts]


def by_day(table: pa.Table) -> Iterator[tuple[int, int, pa.Table]]:
    """(first arrival, last arrival, rows by arrival) of each day."""
    if not len(table):
        return
    table = table.take(pc.sort_indices(table, sort_keys=[("arrival", "ascending")]))
    arrivals = table["arrival"].to_numpy()
    _, starts = np.unique(arrivals // DAY, return_index=True)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(table)], strict=True):
        yield int(arrivals[start]), int(arrivals[end - 1]), table.slice(start, end - start)


def fill(tables: Iterable[pa.Table], sink: Any) -> None:
    """Write tables, one after the other, as one file."""
    with pq.ParquetWriter(sink, STORED, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(STORED.metadata), row_group_size=GROUP_ROWS)
