"""When candidates may be shown, as microseconds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

    from numpy.typing import NDArray

    from service.catalog.schema import Candidate

    Ints = NDArray[np.int64]

EVER = 2**62
"""Microseconds: later than all that happens."""


def moment(given: date | None, zone: ZoneInfo, ends: bool) -> int:
    """Microseconds of a `from` or `until`: a day without a time begins at midnight, and ends with the next one."""
    if given is None:
        return EVER if ends else -EVER
    if not isinstance(given, datetime):
        given = datetime.combine(given + timedelta(days=1) if ends else given, time())
    aware = given if given.tzinfo else given.replace(tzinfo=zone)
    return (aware.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def columns(candidates: Sequence[Candidate], zone: ZoneInfo) -> tuple[Ints, Ints]:
    """(n, windows) begins and ends of all candidates; a candidate without windows is open always."""
    most = max((len(candidate.windows) for candidate in candidates), default=0) or 1
    opens, closes = np.full((len(candidates), most), EVER), np.full((len(candidates), most), EVER)
    for at, candidate in enumerate(candidates):
        if not candidate.windows:
            opens[at, 0] = -EVER
        for number, window in enumerate(candidate.windows):
            opens[at, number] = moment(window.opens, zone, ends=False)
            closes[at, number] = moment(window.closes, zone, ends=True)
    return opens, closes


def contradictions(candidate: Candidate, zone: ZoneInfo) -> Iterator[tuple[int, str]]:
    """(which window, what is wrong): one that ends before it begins, or overlaps one before."""
    spans = [(moment(one.opens, zone, ends=False), moment(one.closes, zone, ends=True)) for one in candidate.windows]
    for at, (opens, closes) in enumerate(spans):
        if opens >= closes:
            yield at, "it ends before it begins"
        elif any(opens < end and begin < closes for begin, end in spans[:at]):
            yield at, "it overlaps a window above"
