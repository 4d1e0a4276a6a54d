"""Train, validation and test by time, with a gap: what is learnt from lies before what it is judged by."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from training.labels import DAY, SECOND, TrainingError

if TYPE_CHECKING:
    from training.labels import Flags, Ints, Queries

TRAIN_SHARE, VALIDATION_SHARE = 0.7, 0.12
WARM_UP_SHARE = 0.2
"""Of the time, before the first bootstrap query when no date is given: without a past there is nothing to see."""
GAP_SHARE, LONGEST_GAP = 0.005, DAY


class Dates(msgspec.Struct, frozen=True, kw_only=True):
    """What the user fixed; the rest follows from the data."""

    train_from: date | None = None
    validation_from: date | None = None
    test_from: date | None = None
    test_until: date | None = None
    """The first day that is not in the test."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The boundaries in microseconds; a part reaches up to `gap` before the next one."""

    train_from: int
    validation_from: int
    test_from: int
    test_until: int
    gap: int

    @property
    def days(self) -> tuple[str, str]:
        """First and last instant that is learnt from, ISO 8601."""
        return _iso(self.train_from), _iso(self.validation_from - self.gap)


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Which queries are in which part: (d,) each."""

    window: Window
    train: Flags
    validation: Flags
    test: Flags


def split(queries: Queries, dates: Dates) -> Split:
    """Raises TrainingError when a part would be empty or dates are out of order."""
    now = queries.now
    window = choose(now, dates, warm_up=queries.kind == "bootstrap")
    parts = Split(
        window=window,
        train=(now >= window.train_from) & (now < window.validation_from - window.gap),
        validation=(now >= window.validation_from) & (now < window.test_from - window.gap),
        test=(now >= window.test_from) & (now < window.test_until),
    )
    for name, part in (("train", parts.train), ("validation", parts.validation), ("test", parts.test)):
        if not part.any():
            begin, end = _iso(int(now.min())), _iso(int(now.max()))
            raise TrainingError(f"no queries to {name} on: the {len(now)} there are lie between {begin} and {end}")
    return parts


def choose(now: Ints, dates: Dates, warm_up: bool) -> Window:
    """The boundaries: dates where given, else shares of the queries."""
    first, last = int(now.min()), int(now.max()) + 1
    span = last - first
    begin = _instant(dates.train_from) or (first + int(span * WARM_UP_SHARE) if warm_up else first)
    end = _instant(dates.test_until) or last
    inside = np.sort(now[(now >= begin) & (now < end)])
    if len(inside) < 3:
        raise TrainingError(f"{len(inside)} queries between {_iso(begin)} and {_iso(end)} are too few to split")
    shares = (TRAIN_SHARE, TRAIN_SHARE + VALIDATION_SHARE)
    quantiles = [int(inside[min(int(share * len(inside)), len(inside) - 1)]) for share in shares]
    window = Window(
        train_from=begin,
        validation_from=_instant(dates.validation_from) or quantiles[0],
        test_from=_instant(dates.test_from) or quantiles[1],
        test_until=end,
        gap=min(int(span * GAP_SHARE), LONGEST_GAP),
    )
    if not window.train_from < window.validation_from < window.test_from < window.test_until:
        edges = (window.train_from, window.validation_from, window.test_from, window.test_until)
        raise TrainingError(f"train, validation and test are out of order: {', '.join(map(_iso, edges))}")
    return window


def _instant(day: date | None) -> int | None:
    return None if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND


def _iso(instant: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)).isoformat(timespec="seconds")
