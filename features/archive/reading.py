"""Reading the archive: each event once and in order, whatever is merged, moved or left behind meanwhile."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.archive.naming import File, parse
from features.archive.places import ArchiveError, Bucket, at, list_settled
from features.archive.tables import IMPORTED, SCHEMA, conform, require_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from features.archive.places import Location, Place

ATTEMPTS = 50
FAR = 16
"""Files read at once from elsewhere."""
LARGE = 4 << 20
ERASURES = "_erasures"
EVER = -(1 << 63), (1 << 63) - 1


def read(
    location: Location,
    columns: list[str] | None = None,
    types: Iterable[str] | None = None,
    customers: Iterable[str] | None = None,
    since: int | None = None,
    until: int | None = None,
) -> pa.Table:
    """All archived events by arrival, then partition; only those of `types`, of `customers`, and that arrived from
    `since` until `until` (both included) if given.
    """
    place = at(location)
    asked = SCHEMA.names if columns is None else columns
    filters = {"type": types, "customer": customers}
    wanted = {name: pa.array(list(values), pa.string()) for name, values in filters.items() if values is not None}
    needed = list(dict.fromkeys([*asked, "arrival", "partition", *wanted]))

    def load(file: File) -> pa.Table:
        table = load_file(place, file, needed, since, until)
        for name, values in wanted.items():
            table = table.filter(pc.is_in(table[name], value_set=values))
        return _between(table, since, until)

    loaded: dict[File, pa.Table] = {}
    for attempt in range(ATTEMPTS):
        chosen = [file for file in list_settled(place) if overlaps(file, since, until)]
        try:
            _load_missing(place, chosen, loaded, load)
            break
        except FileNotFoundError:  # merged into another since it was listed
            if attempt == ATTEMPTS - 1:
                raise
    return settle([loaded[file] for file in chosen], needed).select(asked)


def files(location: Location) -> list[File]:
    """All files, in order of their paths."""
    return list_settled(at(location))


def count(location: Location, file: File) -> int:
    """Events in a file. Raises OSError or pyarrow.ArrowException when it cannot be read."""
    with pq.ParquetFile(at(location).open(file.path)) as opened:
        return int(opened.metadata.num_rows)


def archived_until(location: Location, partition: int) -> int:
    """Arrival of the last event of a partition that is in the archive; 0 if none is."""
    spans = map(parse, files(location))
    return max((span.last for span in spans if span and span.partition == partition), default=0)


def version(location: Location) -> str:
    """Changes with what the archive holds, and not when its files are merged."""
    place = at(location)
    ends: dict[str, int] = {}
    for file in list_settled(place):
        span = parse(file)
        of, last = (file.path, file.size) if span is None else (span.of, span.last)
        ends[of] = max(ends.get(of, last), last)
    return hashlib.blake2b(repr((sorted(ends.items()), erasures(place))).encode(), digest_size=16).hexdigest()


def erasures(place: Place) -> int:
    """How often somebody was erased."""
    try:
        source = place.open(ERASURES)
        with source if isinstance(place, Bucket) else source.open("rb") as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


def load_file(
    place: Place, file: File, columns: Sequence[str], since: int | None = None, until: int | None = None
) -> pa.Table:
    """Columns of one file, whatever version it has; at least of those rows that arrived between these instants. Raises
    ArchiveError for one that is cut or broken."""
    try:
        with pq.ParquetFile(place.open(file.path)) as opened:
            require_version(opened.metadata.metadata, file.path)
            present = [name for name in columns if name in opened.schema_arrow.names]
            groups = [at for at, span in enumerate(spans(opened.metadata)) if meets(*span, since, until)]
            return conform(opened.read_row_groups(groups, present, use_threads=file.size > LARGE), columns)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) is not None:
            raise  # what the system says is not of what is in the file
        raise ArchiveError(
            f"{file.path} of the archive cannot be read ({str(error).splitlines()[0]}): put it back, or move it away"
        ) from error


def spans(metadata: pq.FileMetaData) -> list[tuple[int, int]]:
    """(first arrival, last arrival) of each group of rows: a day's file has many, by arrival. All times if not told."""
    arrival = metadata.schema.names.index("arrival")
    told = [metadata.row_group(at).column(arrival).statistics for at in range(metadata.num_row_groups)]
    return [EVER if one is None or not one.has_min_max else (int(one.min), int(one.max)) for one in told]


def meets(first: int, last: int, since: int | None, until: int | None) -> bool:
    """Whether what arrived from the first to the last may have something of a time."""
    return (until is None or first <= until) and (since is None or last >= since)


def settle(tables: list[pa.Table], columns: Sequence[str]) -> pa.Table:
    """All rows in order; one that stands in two files, as a merge that died leaves it, once."""
    if not tables:
        return pa.schema([SCHEMA.field(name) for name in columns]).empty_table()
    table = pa.concat_tables(tables)
    order = pc.sort_indices(table, sort_keys=[("arrival", "ascending"), ("partition", "ascending")])
    arrival, partition = (table[name].take(order).to_numpy() for name in ("arrival", "partition"))
    again = (arrival[1:] == arrival[:-1]) & (partition[1:] == partition[:-1]) & (partition[1:] != IMPORTED)
    if again.any():
        order = order.filter(pa.array(np.concatenate([[True], ~again])))
    return table.take(order)


def _load_missing(
    place: Place, chosen: list[File], loaded: dict[File, pa.Table], load: Callable[[File], pa.Table]
) -> None:
    missing = [file for file in chosen if file not in loaded]
    if not isinstance(place, Bucket):
        for file in missing:
            loaded[file] = load(file)
        return
    with ThreadPoolExecutor(FAR) as pool:
        loaded.update(zip(missing, pool.map(load, missing), strict=True))


def overlaps(file: File, since: int | None, until: int | None) -> bool:
    """Whether a file may have something of a time."""
    span = parse(file)
    return span is None or meets(span.first, span.last, since, until)


def _between(table: pa.Table, since: int | None, until: int | None) -> pa.Table:
    if since is not None:
        table = table.filter(pc.greater_equal(table["arrival"], since))
    return table if until is None else table.filter(pc.less_equal(table["arrival"], until))
