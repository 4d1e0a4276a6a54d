"""From states to the numbers that a model scores: one table of named features for (decision, candidate) rows.

Serving builds it for one decision, training for thousands; `now` closes every state (read time closes time).
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np

from features.aggregates.columns import Columns, close
from features.aggregates.derived import OF_ALL, derive
from models.signature import Codes, Signature, encode_categories

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class Subjects(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked about, `decisions` (d) times `rows` (r) candidates; digests of ids, categories and kinds."""

    now: Floats
    """(d,) seconds since the epoch."""
    owner: Ints
    """(r,) the decision of each row."""
    candidate: Ints
    category: Ints
    kind: Ints
    price: Floats
    value: Floats
    hour: Floats
    """(d,) hour of the day, in the time zone of the context, else of the catalog."""
    weekday: Floats
    device: Ints
    """(d,)"""
    referrer: Ints
    placement: Ints


class States(msgspec.Struct, frozen=True, kw_only=True):
    """The states as read: customers (d), candidates (r), the total row (d or 1), successors of the last item (d)."""

    customers: Columns
    candidates: Columns
    totals: Columns
    successors: Columns


def compute(states: States, subjects: Subjects) -> dict[str, Floats]:
    """Every feature as an (r,) array; categorical ones as digests."""
    owner, now = subjects.owner, subjects.now
    keys = {"candidate": subjects.candidate, "category": subjects.category}
    single = len(now) == 1
    features = close(states.customers, now, owner, keys)
    features |= close(states.successors, now, owner, keys)
    rows_now = np.broadcast_to(now, owner.shape) if single else now[owner]
    features |= close(states.candidates, rows_now)
    closed = close(states.totals, now if states.totals.size == len(now) else now[:1])
    totals = {name: closed[name] if closed[name].size == 1 else closed[name][owner] for name in OF_ALL}
    features |= derive(features, totals, subjects.category.astype(np.float64))
    features["candidate__price"] = subjects.price
    features["candidate__value"] = subjects.value
    features["candidate__category"] = subjects.category.astype(np.float64)
    features["candidate__kind"] = subjects.kind.astype(np.float64)
    for name, column in (
        ("context__hour", subjects.hour),
        ("context__weekday", subjects.weekday),
        ("context__device", subjects.device.astype(np.float64)),
        ("context__referrer", subjects.referrer.astype(np.float64)),
        ("context__placement", subjects.placement.astype(np.float64)),
    ):
        features[name] = column[owner]
    return features


class Encoder(msgspec.Struct, frozen=True):
    """Puts features in a signature's order and digests into its codes."""

    signature: Signature
    codes: Codes
    numbers: tuple[tuple[int, str], ...]
    """(place, name) of each feature that stands as it is."""
    categories: tuple[str, ...]
    """Names of the others, in their order."""

    def encode(self, features: dict[str, Floats]) -> Floats:
        """The (rows, features) matrix, NaN for missing."""
        rows = len(next(iter(features.values())))
        columns = np.empty((len(self.signature.features), rows))
        for place, name in self.numbers:
            columns[place] = features[name]
        if self.categories:
            digests = np.array([features[name] for name in self.categories])
            columns[self.codes.places] = self.codes.look_up(digests)
        return np.ascontiguousarray(columns.T)


def encoder(signature: Signature) -> Encoder:
    """Raises ValueError for more categorical features than can be looked up."""
    named = list(enumerate(signature.features))
    return Encoder(
        signature,
        encode_categories(signature),
        tuple((place, feature.name) for place, feature in named if feature.kind == "number"),
        tuple(feature.name for _, feature in named if feature.kind == "category"),
    )


def moment(now: float, zone: tzinfo = UTC) -> tuple[float, float]:
    """(hour, weekday) of an instant, Monday 0."""
    local = datetime.fromtimestamp(now, zone)
    return float(local.hour), float(local.weekday())


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def zone_of(context: dict[str, Any], default: tzinfo) -> tzinfo:
    """The context's `timezone` where it names one that exists, else the catalog's."""
    name = context.get("timezone")
    return (_zone(name) if isinstance(name, str) else None) or default


def device_of(context: dict[str, Any]) -> str:
    """The context's device as one word: a text, or Segment's `device.type`; empty if unknown."""
    device = context.get("device")
    if isinstance(device, dict):
        device = device.get("type")
    return device if isinstance(device, str) else ""
