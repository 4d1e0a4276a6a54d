"""Erasing persons from the archive: every file that mentions one is written again without them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from features.archive.places import at, list_settled
from features.archive.reading import ERASURES, erasures, load_file
from features.archive.tables import SCHEMA
from features.archive.writing import fill

if TYPE_CHECKING:
    from collections.abc import Iterable

    from features.archive.naming import File
    from features.archive.places import Location, Place

PASSES = 5


def erase(location: Location, customers: Iterable[str]) -> tuple[int, int]:
    """-> (rows that went, files that were written again). Nothing is merged on this machine meanwhile.

    A file keeps its name, which says up to where a partition is archived, even when nothing is left in it.
    """
    place, gone = at(location), pa.array(list(customers), pa.string())
    rows = rewritten = 0
    with place.alone():
        for _ in range(PASSES):  # another machine may merge files meanwhile, those with the person in them
            counts = [_rewrite(place, file, gone) for file in list_settled(place)]
            rows, rewritten = rows + sum(counts), rewritten + sum(map(bool, counts))
            if not any(counts):
                break
        if rewritten:
            _tell(place)
    return rows, rewritten


def _rewrite(place: Place, file: File, gone: pa.Array) -> int:
    """How many rows went."""
    try:
        column = load_file(place, file, ["customer"])["customer"]
        hit = pc.is_in(column, value_set=gone)
        count = int(pc.sum(hit).as_py() or 0)
        if count:
            table = load_file(place, file, SCHEMA.names).filter(pc.invert(hit))
            place.put({file.path: partial(fill, [table])})
    except FileNotFoundError:  # merged into another: the next pass sees that
        return 0
    return count


def _tell(place: Place) -> None:
    """So that what was made from the archive is known to be of before."""
    number = str(erasures(place) + 1).encode()

    def say(sink: Any) -> None:
        with pa.output_stream(sink) if not hasattr(sink, "write") else sink as file:
            file.write(number)

    place.put({ERASURES: say})
