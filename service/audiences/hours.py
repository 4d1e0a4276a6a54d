"""A customer's best hour: the hour of the day, in the catalog's time zone, in which they look at products and buy most.

Of what their features hold: when they last viewed, and last ordered, each of the products that they came across lately.
Neighbouring hours count half. It is a guess from a few dozen moments; who has none has no best hour.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from features.aggregates.keyed import History, KeyedKind

if TYPE_CHECKING:
    from datetime import tzinfo

    from numpy.typing import NDArray

    from features.aggregates.columns import Columns
    from features.aggregates.rows import Layout

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

EVENTS = ("product_viewed", "order_completed")
HOUR = 3600
NEIGHBOUR = 0.5
TIME = 1
"""The column of a history with the time of the last event of a key."""


def best_hours(columns: Columns, zone: tzinfo) -> list[int | None]:
    """Of each row of the view `customer`. Of equally good hours the earliest."""
    counts = np.zeros((columns.size, 24))
    for table in _tables(columns.layout):
        count = columns.count[table]
        row = np.arange(columns.size).repeat(count)
        if len(row):
            ends = count.cumsum()
            first = (columns.row_at[table] + TIME * count - (ends - count)).repeat(count)
            np.add.at(counts, (row, _hours(columns.numbers[first + np.arange(len(row))], zone)), 1.0)
    spread = counts + NEIGHBOUR * (np.roll(counts, 1, axis=1) + np.roll(counts, -1, axis=1))
    best: list[int] = spread.argmax(axis=1).tolist()
    known: list[bool] = (counts.sum(axis=1) > 0).tolist()
    return [hour if some else None for hour, some in zip(best, known, strict=True)]


def next_moment(at: int, hour: int | None, zone: tzinfo) -> int:
    """The next time that it is `hour`, from `at` on (microseconds); at once where no hour is best."""
    if hour is None:
        return at
    local = datetime.fromtimestamp(at / 1e6, UTC).astimezone(zone)
    if local.hour == hour:
        return at
    then = local.replace(hour=hour, minute=0, second=0, microsecond=0, fold=0)
    if then <= local:
        then = (local + timedelta(days=1)).replace(hour=hour, minute=0, second=0, microsecond=0, fold=0)
    return max(int(then.timestamp()) * 1_000_000, at)


def _tables(layout: Layout) -> list[int]:
    keyed = [one for one in layout.aggregates if isinstance(one.kind, KeyedKind)]
    return [at for at, one in enumerate(keyed) if one.subject in EVENTS and isinstance(one.kind, History)]


def _hours(times: Floats, zone: tzinfo) -> Ints:
    """The local hour of each time, in seconds. Zones shift by quarters of an hour."""
    quarters, of = np.unique(times // (HOUR // 4), return_inverse=True)
    known = [datetime.fromtimestamp(float(quarter) * (HOUR // 4), zone).hour for quarter in quarters.tolist()]
    hours: Ints = np.array(known, np.int64)[of]
    return hours
