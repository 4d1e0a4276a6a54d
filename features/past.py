"""All candidates' rows as they were at instants, from the historical store: at the time of a snapshot they are the
snapshot's, to the bit. Says nothing of instants behind the last event that the store holds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import dataset

from features.aggregates.rows import LAYOUTS
from features.asof import Source, instants, read
from features.ids import digest
from features.streaming import StoredRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pyarrow.dataset import Dataset

    from features.home import Home

    Ints = NDArray[np.int64]

VIEWS = ("candidate", "successors")
Rows = dict[str, dict[int, StoredRow]]
"""View -> digest of the candidate -> row."""


def walk(home: Home, times: Sequence[int]) -> Iterator[Rows]:
    """The rows of all candidates at each of the times (microseconds, ascending)."""
    rows: Rows = {view: {} for view in VIEWS}
    steps = [_steps(home, view, times) for view in VIEWS]
    for changes in zip(*steps, strict=True):
        rows = {view: rows[view] | changed for view, changed in zip(VIEWS, changes, strict=True)}
        yield rows


def _steps(home: Home, view: str, times: Sequence[int]) -> Iterator[dict[int, StoredRow]]:
    """For each time the rows that changed since the time before."""
    data = dataset.dataset(home.history / view, format="parquet")
    table = data.to_table(columns=["candidate", "event_timestamp"])
    stamps = instants(table["event_timestamp"]).to_numpy()
    texts = table["candidate"].combine_chunks().dictionary_encode()
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    names, codes = texts.dictionary.to_pylist(), texts.indices.to_numpy()
    step_of = np.searchsorted(np.asarray(times, np.int64), stamps, side="left")
    latest = _last_of_each(step_of * max(len(names), 1) + codes, stamps)
    latest = latest[step_of[latest] < len(times)]
    latest = latest[np.argsort(step_of[latest], kind="stable")]
    found = zip(*_lists(data, view, latest), strict=True)
    ends = np.searchsorted(step_of[latest], np.arange(len(times)), side="right").tolist()
    start = 0
    for end in ends:
        changed = {}
        for at in latest[start:end].tolist():
            text = names[codes[at]]
            changed[digest(text)] = StoredRow(text, *next(found))
        yield changed
        start = end


def _last_of_each(groups: Ints, stamps: Ints) -> Ints:
    """Positions of the latest of each group."""
    ordered = np.lexsort((stamps, groups))
    is_last = np.ones(len(ordered), bool)
    is_last[:-1] = groups[ordered][1:] != groups[ordered][:-1]
    kept: Ints = ordered[is_last]
    return kept


def _lists(data: Dataset, view: str, rows: Ints) -> list[list[Any]]:
    """`applied`, numbers and ids of the rows."""
    layout = LAYOUTS[view]
    names = {name: name for name in ("applied", layout.numbers, layout.ids)}
    source = Source(data=data, keys={}, time="event_timestamp", created=None, ttl=timedelta(), features=names)
    return [column.to_pylist() for column in read(source, rows)] if len(rows) else [[] for _ in names]
