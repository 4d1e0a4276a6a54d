"""The point-in-time join over Parquet files: finds the row that belongs to each label, and pairs nothing else.

DuckDB's ASOF JOIN sees keys and times alone and answers with row numbers; only the rows found are read then, as Arrow.
Knows nothing of Feast, and trusts that the columns it is told of exist.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from typing import TYPE_CHECKING

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import compute, dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TIME = pa.timestamp("us", tz="UTC")
BATCH_ROWS = 65_536
TAKE_ROWS = 1 << 20
"""Labels gathered into one chunk: a chunk of lists has 32-bit offsets."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One feature view's files and what is asked of them."""

    data: dataset.Dataset
    keys: dict[str, str]
    """Source column -> label column; not empty."""
    time: str
    created: str | None
    ttl: timedelta
    """Zero keeps a row for ever."""
    features: dict[str, str]
    """Result column -> source column."""


def join(labels: pa.Table, time: str, sources: list[Source]) -> pa.Table:
    """The labels, in their order, with each source's features behind them; nulls where no row fits at their `time`."""
    for source in sources:
        rows = find(labels, time, source)
        for name, column in zip(source.features, read(source, rows), strict=True):
            labels = labels.append_column(name, column)
    return labels


def find(labels: pa.Table, time: str, source: Source) -> NDArray[np.int64]:
    """For each label the number of the source's row, counted over its files in order; -1 where none fits.

    That is the key's latest row stamped at or before the label and at most `ttl` before it. Of rows with the same key
    and time the last created wins, else the first in the files. Nulls in keys and times never fit.
    """
    found = np.full(len(labels), -1, dtype=np.int64)
    created = [source.created] if source.created else []
    rows = source.data.to_table(columns=[*source.keys, source.time, *created])
    if not len(rows):
        return found  # an empty source may not know its keys' types
    codes = [encode(rows[column], labels[label]) for column, label in source.keys.items()]
    left = numbered([label for _, label in codes], labels[time])
    right = numbered([row for row, _ in codes], rows[source.time])
    stamps = instants(rows[source.created]) if source.created else pa.nulls(len(rows), pa.int64())
    matched, places = match(left, right.append_column("created", stamps), len(codes), source.ttl)
    found[matched] = places
    return found


def match(left: pa.Table, right: pa.Table, keys: int, ttl: timedelta) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the labels (left) that have a row, and of those rows (right)."""
    names = [f"key{place}" for place in range(keys)]
    oldest = ttl // timedelta(microseconds=1)
    query = f"""
        WITH latest AS (
            SELECT * FROM rows QUALIFY 1 = row_number() OVER (
                PARTITION BY {", ".join(names)}, time ORDER BY created DESC NULLS LAST, number
            )
        )
        SELECT labels.number AS label, latest.number AS row
        FROM labels ASOF JOIN latest
        ON {" AND ".join(f"labels.{name} = latest.{name}" for name in names)} AND labels.time >= latest.time
        {f"WHERE labels.time - latest.time <= {oldest}" if oldest else ""}
    """  # noqa: S608  # its parts are numbers and names made here
    with duckdb.connect(config={"temp_directory": tempfile.gettempdir()}) as connection:
        connection.register("labels", left)
        connection.register("rows", right)
        pairs = connection.execute(query).fetchnumpy()
    return np.asarray(pairs["label"]), np.asarray(pairs["row"])


def read(source: Source, rows: NDArray[np.int64]) -> list[pa.ChunkedArray]:
    """The features of the rows that `find` gave, in that order; only rows that are asked for stay in memory."""
    matched = rows >= 0
    if not matched.any():
        types = [source.data.schema.field(column).type for column in source.features.values()]
        return [pa.chunked_array([pa.nulls(len(rows), kind)]) for kind in types]
    wanted = np.zeros(source.data.count_rows(), dtype=bool)
    wanted[rows[matched]] = True
    places = pa.array((np.cumsum(wanted) - 1)[rows], mask=~matched)
    chunks = [places.slice(first, TAKE_ROWS) for first in range(0, len(places), TAKE_ROWS)]
    parts = list(_holding(source.data, wanted))
    columns = []
    for column in source.features.values():  # one at a time: each reuses the memory of the one before
        kept = []
        for part, places_in_it in parts:
            start = 0
            for batch in part.to_batches(columns=[column], batch_size=BATCH_ROWS, batch_readahead=2):
                kept.append(batch.column(0).filter(pa.array(places_in_it[start : start + len(batch)])))
                start += len(batch)
        values = pa.concat_arrays(kept)
        kept.clear()
        columns.append(pa.chunked_array([values.take(chunk) for chunk in chunks]))
    return columns


def _holding(
    data: dataset.Dataset, wanted: NDArray[np.bool_]
) -> Iterator[tuple[dataset.ParquetFileFragment, NDArray[np.bool_]]]:
    """The groups of rows of which any is wanted, and which: labels of neighbouring times want few groups of a long
    history.
    """
    start = 0
    for fragment in data.get_fragments():
        for part in fragment.split_by_row_group():
            behind = start + part.row_groups[0].num_rows  # its own count is that of the file
            if wanted[start:behind].any():
                yield part, wanted[start:behind]
            start = behind


def encode(rows: pa.ChunkedArray, labels: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """A key's values as small integers, which join twice as fast as strings; what no row has becomes null."""
    values = compute.unique(rows)
    return (
        compute.index_in(rows, value_set=values, skip_nulls=True),
        compute.index_in(labels.cast(values.type), value_set=values, skip_nulls=True),
    )


def numbered(keys: list[pa.ChunkedArray], times: pa.ChunkedArray) -> pa.Table:
    columns = {f"key{place}": codes for place, codes in enumerate(keys)}
    return pa.table({**columns, "time": instants(times), "number": np.arange(len(times), dtype=np.int64)})


def instants(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Microseconds since the epoch, UTC: naive times are UTC, and what is finer is cut."""
    return times.cast(TIME, safe=False).cast(pa.int64())
