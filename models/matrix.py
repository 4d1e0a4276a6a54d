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
from features.aggregates.derived import OF_ALL, derive_candidates, derive_pairs
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
    """The states as read: customers (d) and successors of the last item (d); candidates (r) are closed already."""

    customers: Columns
    candidates: dict[str, Floats]
    """Of `close_candidates`."""
    successors: Columns


def close_candidates(candidates: Columns, totals: Columns, now: Floats, owner: Ints) -> dict[str, Floats]:
    """What is known of candidates (r) whoever asks, as (r,) arrays; `now` (d,), `totals` the total row (d or 1).

    They are closed as of the beginning of now's second: all decisions of a second share this work.
    """
    second = np.floor(now)
    closed = close(candidates, second[owner])
    total = close(totals, second if totals.size == len(second) else second[:1])
    spread = {name: total[name] if total[name].size == 1 else total[name][owner] for name in OF_ALL}
    return closed | derive_candidates(closed, spread)


def compute(states: States, subjects: Subjects) -> dict[str, Floats]:
    """Every feature as an (r,) array; categorical ones as digests."""
    owner, now = subjects.owner, subjects.now
    keys = {"candidate": subjects.candidate, "category": subjects.category}
    features = close(states.customers, now, owner, keys)
    features |= close(states.successors, now, owner, keys)
    features |= states.candidates
    features |= derive_pairs(features, subjects.category.astype(np.float64))
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
    names: tuple[str, ...]
    categories: tuple[str, ...]
    """Names of those that are categorical, in their order."""

    def encode(self, features: dict[str, Floats]) -> Floats:
        """The (rows, features) matrix, NaN for missing."""
        columns = np.concatenate([features[name] for name in self.names]).reshape(len(self.names), -1)
        if self.categories:
            digests = np.array([features[name] for name in self.categories])
            columns[self.codes.places] = self.codes.look_up(digests)
        return columns.T  # as it stands in memory, the compiled trees take it


def encoder(signature: Signature) -> Encoder:
    """Raises ValueError for more categorical features than can be looked up."""
    return Encoder(
        signature,
        encode_categories(signature),
        tuple(signature.names),
        tuple(feature.name for feature in signature.features if feature.kind == "category"),
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
