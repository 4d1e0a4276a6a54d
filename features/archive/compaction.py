"""Merging the archive's small files: past days into one file a partition, today's when there are many.

A merged file is in its place before what it was made of goes, and a reader takes an event that stands in two files
once: whoever dies in between leaves nothing lost and nothing doubled, and the next merge cleans up.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from features.archive.naming import DAY, File, Span, day_folder, parse, write_name
from features.archive.places import at, list_settled
from features.archive.reading import load_file, settle
from features.archive.tables import SCHEMA
from features.archive.writing import GROUP_ROWS, by_day, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from features.archive.places import Fill, Location, Place

MANY = 32
"""So many small files of a partition's present day are merged."""
SMALL = 8 << 20
LARGEST = 256 << 20
"""Bytes of the files that are merged into one, at most."""
SETTLED = 600 * 1_000_000
"""Microseconds after midnight until all of the past day has been archived."""


class Compacted(msgspec.Struct, frozen=True):
    """What a compaction did."""

    before: int
    """Files that there are no more."""
    after: int
    """Files that were made of them."""


class Dated(msgspec.Struct, frozen=True):
    """A file of a partition, and what its name says."""

    file: File
    span: Span

    @property
    def days(self) -> range:
        return range(self.span.first // DAY, self.span.last // DAY + 1)

    @property
    def is_flat(self) -> bool:
        """Not in its day's folder, as older versions wrote it."""
        return self.file.folder != day_folder(self.span.first)


def compact(location: Location, now: int, proceed: Callable[[], bool] = lambda: True) -> Compacted:
    """Merge what is due at `now` (microseconds), as long as `proceed` says so between two merges.

    Waits until no other process of this machine merges or erases. Imports stay as they are.
    """
    place = at(location)
    before = after = 0
    with place.alone():
        place.tidy()
        for group in _groups(list_settled(place), now):
            if not proceed():
                break
            made = _merge(place, group)
            before, after = before + (len(group) if made else 0), after + made
    return Compacted(before, after)


def _groups(found: Iterable[File], now: int) -> Iterator[list[Dated]]:
    """Files to merge, those of one partition and day, or a flat one of several days."""
    dated = [Dated(file, span) for file in found if (span := parse(file)) and span.partition is not None]
    yield from ([one] for one in dated if len(one.days) > 1)
    within = sorted((one for one in dated if len(one.days) == 1), key=_place_of)
    for (_, day), group in groupby(within, key=lambda one: (one.span.of, one.days[0])):
        files = list(group)
        if (day + 1) * DAY + SETTLED <= now:
            yield from (run for run in _runs(files, LARGEST) if len(run) > 1 or run[0].is_flat)
        elif sum(one.file.size < SMALL for one in files) >= MANY:
            yield from (run for run in _runs(files, SMALL) if len(run) > 1)


def _place_of(one: Dated) -> tuple[str, int, int, int]:
    return one.span.of, one.days[0], one.span.first, -one.span.last


def _runs(files: Sequence[Dated], most: int) -> Iterator[list[Dated]]:
    """Files in a row, as long as they have at most so many bytes together; a larger one stays alone."""
    run: list[Dated] = []
    size = 0
    for one in files:
        if run and size + one.file.size > most:
            yield run
            run, size = [], 0
        run.append(one)
        size += one.file.size
    yield run


def _merge(place: Place, group: list[Dated]) -> int:
    """Files made; 0 when others changed some of them meanwhile, another time then."""
    paths = [one.file.path for one in group]
    try:
        stamps = [place.stamp(path) for path in paths]

        def write(part: Fill, sink: Any) -> None:
            part(sink)
            if [place.stamp(path) for path in paths] != stamps:  # somebody may have been erased from one
                raise FileNotFoundError(f"{paths} have changed")

        parts = {path: partial(write, part) for path, part in _parts(place, group).items()}
        place.put(parts)
    except FileNotFoundError:
        return 0
    place.remove([path for path in paths if path not in parts])
    return len(parts)


def _parts(place: Place, group: list[Dated]) -> dict[str, Fill]:
    of, first = group[0].span.of, group[0].span.first
    last = max(one.span.last for one in group)
    if len(group) > 1 or len(group[0].days) == 1:
        return {write_name(of, first, last): lambda sink: fill(_tables(place, group), sink)}
    # The last one keeps the end that the name told, up to which the partition is archived.
    days = list(by_day(load_file(place, group[0].file, SCHEMA.names)))
    if not days or days[-1][0] // DAY != last // DAY:
        days.append((last, last, SCHEMA.empty_table()))
    ends = [end for _, end, _ in days[:-1]] + [last]
    return {write_name(of, start, end): partial(fill, [rows]) for (start, _, rows), end in zip(days, ends, strict=True)}


def _tables(place: Place, group: list[Dated]) -> Iterator[pa.Table]:
    """The rows of files in order of their first arrival, in tables of the size that files are read well by."""
    waiting: list[pa.Table] = []
    rows, end = 0, -1
    for one in group:
        if rows >= GROUP_ROWS and one.span.first > end:
            yield settle(waiting, SCHEMA.names)
            waiting, rows = [], 0
        table = load_file(place, one.file, SCHEMA.names)
        waiting.append(table)
        rows, end = rows + len(table), max(end, one.span.last)
    yield settle(waiting, SCHEMA.names)
