"""Labelled queries: the questions that a model learns from, each a customer, an instant, candidates, and which of them
were rewarded. Where labels come from is in bootstrap.py and logged.py; here is what both give.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np
import yaml

from models.matrix import moment, zone_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from features.events.schema import Event
    from features.home import Home

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]
    Packed = tuple[list[float], list[int]]

Kind = Literal["bootstrap", "logged"]
ORDERED, VIEWED = "Order Completed", "Product Viewed"
CLICK: Final = "click"
CONVERSION: Final = "conversion"
REVENUE: Final = "revenue"
MICROSECOND = 1
SECOND = 1_000_000
DAY = 86_400 * SECOND
HOLE = 3 * DAY
"""A shorter time without a label is none that is told."""


class TrainingError(ValueError):
    """Why there is no model to be made of this archive; the message says what would help."""


class Queries(msgspec.Struct, frozen=True, kw_only=True):
    """d queries and their r rows (query, candidate), both by time; times in microseconds."""

    kind: Kind
    reward: str
    customers: list[str]
    """(d,)"""
    now: Ints
    """(d,) the instant at which states are closed."""
    customer_at: Ints
    """(d,) which of the customer's rows is joined: the latest up to here."""
    candidate_at: Ints
    """(d,) the same for candidates: the time of the snapshot."""
    hour: Floats
    weekday: Floats
    device: list[str]
    referrer: list[str]
    placement: list[str]
    inline: dict[int, list[Event]]
    """Query -> the events that came with the decision."""
    candidates: list[str]
    """Every candidate's id; rows name it by its place here."""
    owner: Ints
    """(r,) the query of each row, ascending."""
    candidate: Ints
    rewarded: Flags
    popularity: Floats
    """(r,) what chose the candidates: events in the window, as a share of all; NaN where a policy chose them."""
    position: Ints | None = None
    """(r,) the place on the page at which it stood, from 1; None where nothing was shown."""
    amount: Floats | None = None
    """(r,) what each row brought in money, NaN where that is not known yet; None: nobody asked for it."""
    supplied: dict[int, dict[str, dict[str, Any]]] = {}
    """Query -> candidate -> attributes, of candidates that came with the request and that the catalog did not know."""
    states: dict[int, Packed] | None = None
    """Query -> (numbers, ids) of the customer's row as the decision logged it, without one that was unknown. None:
    rows are joined from the historical store."""

    def __len__(self) -> int:
        return len(self.now)

    @property
    def row_starts(self) -> Ints:
        """(d + 1,) where each query's rows begin."""
        return np.searchsorted(self.owner, np.arange(len(self) + 1))

    def select(self, keep: Flags) -> Queries:
        """The queries where `keep` (d,) holds, with their rows."""
        places = np.cumsum(keep) - 1
        rows = keep[self.owner]
        chosen = np.flatnonzero(keep).tolist()
        return msgspec.structs.replace(
            self,
            customers=[self.customers[at] for at in chosen],
            device=[self.device[at] for at in chosen],
            referrer=[self.referrer[at] for at in chosen],
            placement=[self.placement[at] for at in chosen],
            inline={int(places[at]): events for at, events in self.inline.items() if keep[at]},
            supplied={int(places[at]): brought for at, brought in self.supplied.items() if keep[at]},
            states=self.states and {int(places[at]): state for at, state in self.states.items() if keep[at]},
            **{name: getattr(self, name)[keep] for name in ("now", "customer_at", "candidate_at", "hour", "weekday")},
            owner=places[self.owner[rows]],
            **{name: getattr(self, name)[rows] for name in ("candidate", "rewarded", "popularity")},
            position=None if self.position is None else self.position[rows],
            amount=None if self.amount is None else self.amount[rows],
        )


def tell_hole(now: Ints) -> str:
    """The longest time without a label in words, where it is far longer than is usual here; else nothing.

    Labels on both sides are learnt from as they are: features age over the hole, as they would in serving.
    """
    times = np.sort(now)
    apart = np.diff(times)
    if not len(apart) or apart.max() < max(HOLE, 10.0 * apart.mean()):
        return ""
    at = int(np.argmax(apart))
    begin, end = (datetime.fromtimestamp(time / SECOND, UTC).date() for time in times[at : at + 2].tolist())
    return f"a hole of {apart[at] / DAY:.0f} days in the history: no labels between {begin} and {end}"


def read_zone(home: Home) -> tzinfo:
    """The catalog's time zone; UTC when it has none."""
    with contextlib.suppress(OSError, yaml.YAMLError):
        document = yaml.safe_load(home.catalog.read_text())
        if isinstance(document, dict):
            return zone_of({"timezone": document.get("time_zone")}, UTC)
    return UTC


def moments(now: Ints, zones: list[tzinfo]) -> tuple[Floats, Floats]:
    """Hours and weekdays of instants in microseconds, as the service computes them."""
    pairs = [moment(time / SECOND, zone) for time, zone in zip(now.tolist(), zones, strict=True)]
    both = np.array(pairs, np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
