"""What the archive says of exposures and of what came after: as `attribution` wants it, by who the customers became."""

from __future__ import annotations

import contextlib
import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from features import archive
from features.events.occurrences import LONGEST_ID, identifier, key_of, look
from features.events.schema import Track, decode
from features.identity import MOST_HOPS, link_of
from training.attribution import Window
from training.labels import ORDERED, SECOND, TrainingError
from training.touches import Behaviour, Order, Refund

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.home import Home

EXPOSURE_EVENT, CLICK_EVENT = "Promotion Viewed", "Promotion Clicked"
REFUNDED, CANCELLED = "Order Refunded", "Order Cancelled"
TURN = 50_000
"""Events whose payloads are in memory at once, about."""
Text = Annotated[str, msgspec.Meta(max_length=LONGEST_ID)]
UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


class _Named(msgspec.Struct):
    """What most promotion events say of themselves: texts. Others are read in full."""

    decision_id: Text
    placement: Text
    promotion_id: Text


class _Promotion(msgspec.Struct):
    properties: _Named


_promotion = msgspec.json.Decoder(_Promotion).decode


def read_behaviour(home: Home, since: int | None = None) -> Behaviour:
    """Exposures, clicks, orders and refunds of the archive, of what arrived from `since` on; an id that was joined to
    another counts as that.
    """
    owners = read_owners(home)
    behaviour = Behaviour()
    names = (EXPOSURE_EVENT, CLICK_EVENT, ORDERED, REFUNDED, CANCELLED)
    for table in read_by_turns(home, "track", ["arrival", "event", "customer", "time", "payload"], since):
        behaviour.until = int(pc.max(table["arrival"]).as_py())
        wanted = table.filter(pc.is_in(table["event"], value_set=pa.array(names, pa.string())))
        for batch in wanted.to_batches(max_chunksize=10_000):
            for row in zip(*(batch.column(name).to_pylist() for name in wanted.column_names[1:]), strict=True):
                _take(behaviour, owners, *row)
    return behaviour


def _take(behaviour: Behaviour, owners: dict[str, str], event: str, customer: str, time: int, payload: bytes) -> None:
    names = behaviour.names
    who = names.customers[_follow(owners, customer)]
    if event in (EXPOSURE_EVENT, CLICK_EVENT):
        key = _read_key(payload)
        if all(key):
            decision, placement, candidate = key
            touches = behaviour.exposures if event == EXPOSURE_EVENT else behaviour.clicks
            numbers = names.decisions[decision], names.placements[placement], names.candidates[candidate]
            touches.add(*numbers, who, time)
        return
    told = decode(payload)
    if not isinstance(told, Track):
        return
    order = identifier(told.properties.get("order_id"))
    if event == ORDERED:
        behaviour.orders.append(Order(order or told.message_id, who, time, measure(told)))
    elif order:
        amount = measure(told) if event == REFUNDED else math.inf
        behaviour.refunds.append(Refund(order, amount or math.inf))


def _read_key(payload: bytes) -> tuple[str, str, str]:
    """Decision, placement and candidate of a promotion event; empty texts for what it does not name."""
    try:
        plain = _promotion(payload).properties
    except msgspec.ValidationError:
        event = decode(payload)
        return key_of(event.properties if isinstance(event, Track) else {})
    return plain.decision_id, plain.placement, plain.promotion_id


def measure(event: Track) -> float:
    """An order's revenue: as it says, else the sum of its lines."""
    said = look(event.event, event.time, event.properties)
    return said.revenue or sum(item.price * item.quantity for item in said.items)


def read_owners(home: Home) -> dict[str, str]:
    """Id -> the id that it was joined to first: that one has its past."""
    owners: dict[str, str] = {}
    for payload in payloads(archive.read(home.archive, ["payload"], types=["identify", "alias"])):
        event = decode(payload)
        if (target := link_of(event)) is not None:
            owners.setdefault(event.customer, target)
    return owners


def _follow(owners: dict[str, str], customer: str) -> str:
    for _ in range(MOST_HOPS):
        if (owner := owners.get(customer)) is None:
            break
        customer = owner
    return customer


def read_windows(home: Home) -> dict[str, Window]:
    """Attribution windows by placement, of the catalog: `attribution: {click: 30m, conversion: 7d}`.

    Raises TrainingError for one that is no duration.
    """
    document: Any = None
    with contextlib.suppress(OSError, yaml.YAMLError):
        document = yaml.safe_load(home.catalog.read_text())
    placements = document.get("placements") if isinstance(document, dict) else None
    windows = {}
    for placement in placements if isinstance(placements, list) else []:
        if isinstance(placement, dict) and isinstance(said := placement.get("attribution"), dict):
            try:
                given = {name: parse(said[name]) for name in ("click", "conversion") if name in said}
            except ValueError as error:
                raise TrainingError(f"attribution of placement {placement.get('id')!r}: {error}") from None
            windows[str(placement.get("id"))] = Window(**given)
    return windows


def parse(text: object) -> int:
    """Microseconds of a duration. Raises ValueError.

    >>> parse("1d12h") == 36 * 3600 * SECOND
    True
    """
    if not isinstance(text, str) or not re.fullmatch(r"(?:\d{1,6}[dhms])+", text):
        raise ValueError(f"{text!r} is no duration such as 30m, 24h or 7d")
    return sum(int(count) * UNITS[unit] for count, unit in re.findall(r"(\d+)([dhms])", text)) * SECOND


def read_by_turns(home: Home, kind: str, columns: list[str], since: int | None = None) -> Iterator[pa.Table]:
    """Archived events of a type in order, some after the others: all payloads at once would not fit into memory."""
    arrivals = archive.read(home.archive, ["arrival"], types=[kind], since=since)["arrival"].to_numpy()
    starts = np.unique(arrivals[::TURN]).tolist()
    for start, behind in pairwise([*starts, None]):
        yield archive.read(
            home.archive, columns, types=[kind], since=start, until=None if behind is None else behind - 1
        )


def payloads(table: pa.Table) -> Iterator[bytes]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.column("payload").to_pylist()
