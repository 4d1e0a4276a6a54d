"""Into which spans of arrivals an archive is cut, to be read in parts of bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from features.archive.places import at, list_settled
from features.archive.reading import ATTEMPTS, meets, overlaps, spans

if TYPE_CHECKING:
    from features.archive.naming import File
    from features.archive.places import Location, Place


def cut(location: Location, since: int, until: int, most: int) -> list[int]:
    """Ends, ascending, of the spans of arrivals into which what arrived from `since` until `until` is best read, one
    after the other: each has about `most` bytes, or one group of rows of each partition.
    """
    place = at(location)
    for attempt in range(ATTEMPTS):
        try:
            groups = [
                group
                for file in list_settled(place)
                if overlaps(file, since, until)
                for group in _weigh(place, file)
                if meets(*group[:2], since, until)
            ]
            break
        except FileNotFoundError:  # merged into another since it was listed
            if attempt == ATTEMPTS - 1:
                raise
    ends, waiting = [], 0
    for first, _, size in sorted(groups):
        if waiting and waiting + size > most and first > since:
            ends.append(first - 1)
            waiting = 0
        waiting += size
    return [*ends, until]


def _weigh(place: Place, file: File) -> list[tuple[int, int, int]]:
    """(first arrival, last arrival, bytes when read) of each group of rows of a file."""
    with pq.ParquetFile(place.open(file.path)) as opened:
        found = opened.metadata
        return [(*span, found.row_group(at).total_byte_size) for at, span in enumerate(spans(found))]
