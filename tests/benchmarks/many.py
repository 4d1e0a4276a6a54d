"""Millions of exposures of one experiment in an archive: events as the service writes them, filled in by the column."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from features import archive
from features.aggregates.rows import LAYOUTS, blank
from features.archive.naming import DAY
from features.archive.tables import SCHEMA
from features.events.schema import Decision, Event, Track, encode
from tests.benchmarks.recording import SECOND, START, decide
from tests.benchmarks.recording import Plan as Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from features.home import Home

    Ints = NDArray[np.int64]

EXPERIMENT, PLACEMENT, ARMS = "hero-test", "hero", ("usual", "bold")
SEEN = 2
"""Exposures of each decision."""
PARTITIONS = 4
BEGINS = START // DAY * DAY
LAST_DAY = BEGINS + 364 * DAY
"""What is added comes on the last day."""
END = LAST_DAY + DAY
CLICKED, ORDERED, COMPLAINED = (0.08, 0.083), 0.02, 0.001
"""Of the decisions; clicks by arm."""
NOISE = 160
"""Bytes of each decision's state that are its own."""
CATALOG: dict[str, Any] = {
    "placements": [{"id": PLACEMENT, "default": "c-0", "limit": SEEN}],
    "candidates": [{"id": f"c-{number}"} for number in range(4)],
    "experiments": [
        {
            "id": EXPERIMENT,
            "status": "running",
            "placements": [PLACEMENT],
            "variants": [{"id": arm} for arm in ARMS],
            "analysis": {
                "metrics": [
                    {"id": "clicks", "event": "Promotion Clicked"},
                    {"id": "spend", "kind": "revenue", "event": "Order Completed", "cap": 300.0},
                    {"id": "complaints", "event": "Complaint", "goal": "decrease", "guardrail": True, "margin": 0.05},
                ],
                "segments": ["device"],
            },
        }
    ],
}


def begin(home: Home, exposures: int, customers: int, days: int) -> None:
    """The catalog, and exposures of so many customers, spread over days, as files of a partition and a day."""
    home.catalog.parent.mkdir(parents=True, exist_ok=True)
    home.catalog.write_text(json.dumps(CATALOG))  # JSON is YAML
    decisions = exposures // SEEN // days
    for number in range(days):
        _write(home, number * decisions, decisions, customers, LAST_DAY + (1 + number - days) * DAY, DAY // 2)


def go_on(home: Home, exposures: int, customers: int) -> None:
    """More of them, in the minute after the last."""
    last = max(archive.archived_until(home.archive, partition) for partition in range(PARTITIONS))
    _write(home, last, exposures // SEEN, customers, last + SECOND, 60 * SECOND)


def _write(home: Home, first: int, count: int, customers: int, since: int, span: int) -> None:
    """Decisions from the number `first` on, and what followed them within seconds."""
    draw = np.random.default_rng([7, first])
    unit, arrival = draw.integers(0, customers, count), since + np.sort(draw.integers(0, span, count))
    for partition in range(PARTITIONS):
        here = np.flatnonzero(unit % PARTITIONS == partition)
        columns = list(_events(draw, first + here, unit[here], arrival[here]))
        table = pa.concat_tables(pa.table(dict(zip(SCHEMA.names, one, strict=True)), SCHEMA) for one in columns)
        archive.write(home.archive, str(partition), _at_once(table, partition))


def _at_once(table: pa.Table, partition: int) -> pa.Table:
    """With arrivals that no two events share."""
    arrival = table["arrival"].to_numpy()
    order = np.argsort(arrival, kind="stable")
    place = np.arange(len(order))
    apart = np.maximum.accumulate(arrival[order] - place) + place
    fields = {"arrival": pa.array(apart), "partition": pa.array(np.full(len(order), partition, np.int32))}
    sorted_table = table.take(pa.array(order))
    for name, values in fields.items():
        sorted_table = sorted_table.set_column(SCHEMA.names.index(name), SCHEMA.field(name), values)
    return sorted_table


def _events(draw: np.random.Generator, number: Ints, unit: Ints, arrival: Ints) -> Iterator[list[Any]]:
    """Columns of the archive: decisions, their views, and what some units did then."""
    arm = unit % PARTITIONS % 2 ^ unit // PARTITIONS % 2
    noise = base64.b64encode(draw.bytes(1 << 20)).decode()
    starts = draw.integers(0, len(noise) - NOISE, len(unit)).tolist()
    own = [noise[start : start + NOISE] for start in starts]
    texts = [ARMS[at] for at in arm.tolist()]
    yield _fill(_decision(), number, unit, arrival, texts, own)
    for position in range(SEEN):
        properties = {"decision_id": "d-@number", "placement": PLACEMENT, "promotion_id": f"c-{position}"}
        yield _fill(_track("Promotion Viewed", properties), number, unit, arrival + (1 + position) * SECOND)
    chances: dict[str, tuple[Any, dict[str, Any]]] = {
        "Promotion Clicked": (np.array(CLICKED)[arm], {"placement": PLACEMENT, "promotion_id": "c-0"}),
        "Order Completed": (np.full(len(unit), ORDERED), {"order_id": "@number", "revenue": 40.0}),
        "Complaint": (np.full(len(unit), COMPLAINED), {}),
    }
    for event, (chance, properties) in chances.items():
        did = np.flatnonzero(draw.random(len(unit)) < chance)
        yield _fill(_track(event, properties), number[did], unit[did], arrival[did] + 5 * SECOND)


def _decision() -> Decision:
    made = decide(
        Shop(rows=SEEN, customers=1), blank(LAYOUTS["customer"], "@unit"), "d-@number", START, list(range(SEEN)), 0
    )
    slot = msgspec.structs.replace(made.placements[0], id=PLACEMENT)
    return msgspec.structs.replace(made, placements=[slot], variants={EXPERIMENT: "@arm"})


def _track(event: str, properties: dict[str, Any]) -> Track:
    return Track(
        message_id="@number-" + event.replace(" ", "-"),
        customer="@unit",
        time=START,
        received=START,
        context={"page": {"path": "/"}, "userAgent": "Mozilla/5.0 (X11; Linux x86_64)"},
        event=event,
        properties=properties,
    )


def _fill(
    event: Event,
    number: Ints,
    unit: Ints,
    arrival: Ints,
    arms: list[str] | None = None,
    noise: list[str] | None = None,
) -> list[Any]:
    """An event's bytes once for each row, with the row's numbers in place of the marks."""
    text = encode(event).decode().replace("%", "%%")
    if noise is not None:
        text = text.replace("A" * NOISE, "%(noise)s", 1)
    for mark in ("number", "unit", "arm"):
        text = text.replace(f"@{mark}", f"c-%({mark})s" if mark == "unit" else f"%({mark})s")
    text = text.replace(str(START - 100), "%(time)d").replace(str(START), "%(time)d")
    rows = zip(number.tolist(), unit.tolist(), arrival.tolist(), arms or number, noise or number, strict=True)
    payloads = [(text % {"number": a, "unit": b, "time": c, "arm": d, "noise": e}).encode() for a, b, c, d, e in rows]
    count, names = len(payloads), [f"c-{one}" for one in unit.tolist()]
    kind = str(event.__struct_config__.tag)
    said = event.event if isinstance(event, Track) else None
    ids = [f"{kind}-{said}-{one}" for one in number.tolist()]
    return [arrival, np.zeros(count, np.int32), [kind] * count, [said] * count, names, ids, arrival, payloads]
