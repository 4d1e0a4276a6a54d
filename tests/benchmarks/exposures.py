"""A shop's archive of any size, the same for the same seed: visits, what they were shown, what they clicked on.

Written as live traffic leaves it: decisions that log the rows they read, events by partition, a snapshot every second.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from features import archive
from features.aggregates.rows import LAYOUTS, Row, blank
from features.several import spread
from tests.benchmarks.recording import (
    CATEGORIES,
    GAP,
    PLACEMENT,
    SECOND,
    SHOWN,
    SPREAD,
    START,
    VIEWS,
    Plan,
    catalog,
    decide,
    happen,
    publish,
    take_snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from features.events.schema import Event
    from features.home import Home

BATCH = 50_000


def make(home: Home, plan: Plan) -> int:
    """Write it -> its bytes."""
    home.catalog.parent.mkdir(parents=True, exist_ok=True)
    home.catalog.write_text(json.dumps(catalog(plan)))  # JSON is YAML
    with spread(plan.rows > BATCH) as pool:
        for done in [pool.submit(write, home.events, plan, number) for number in range(plan.partitions)]:
            done.result()
    return sum(file.size for file in archive.files(home.archive))


def write(folder: Path, plan: Plan, partition: int) -> None:
    """One partition's events, some files of them."""
    waiting: list[Event] = []
    last = START
    for began, events in visit(plan, partition):
        waiting += events
        last = began
        if len(waiting) >= BATCH:
            waiting = _put(folder, partition, waiting, last)
    _put(folder, partition, waiting, plan.end)


def _put(folder: Path, partition: int, events: list[Event], until: int) -> list[Event]:
    """Archive what arrived before `until` -> the others."""
    entries = [archive.entry(event.received, event) for event in events if event.received < until]
    entries.sort(key=lambda entry: entry.arrival)
    archive.write(folder, str(partition), archive.tabulate(partition, entries))
    return [event for event in events if event.received >= until]


def visit(plan: Plan, partition: int) -> Iterator[tuple[int, list[Event]]]:
    """(when it began, its events) of each visit of a partition's customers, and what stands beside them."""
    draw = np.random.default_rng([plan.seed, partition])
    rows: dict[str, Row] = {}
    recent: list[int] = []
    snapshot = START
    if partition == 0:
        yield START, [publish(plan)]
    for number in range(partition, plan.visits, plan.partitions):
        began = START + 3 + number * GAP
        taken: list[Event] = []
        while partition == 0 and snapshot + SECOND < began:
            snapshot += SECOND
            taken.append(take_snapshot(plan, snapshot))
        who = _draw_customer(draw, plan, partition, recent)
        name = f"c-{who}"
        row = rows.get(name) or rows.setdefault(name, blank(LAYOUTS["customer"], name))
        yield began, [*taken, *_visit(plan, draw, row, who, number, began)]


def _draw_customer(draw: np.random.Generator, plan: Plan, partition: int, recent: list[int]) -> int:
    """Some come often; nobody is in two visits at once."""
    each = plan.customers // plan.partitions
    while True:
        who = int(min(draw.exponential(0.35), 0.999) * each) * plan.partitions + partition
        if who not in recent:
            recent.append(who)
            del recent[: -SPREAD // GAP]
            return who


def _visit(plan: Plan, draw: np.random.Generator, row: Row, who: int, number: int, began: int) -> Iterator[Event]:
    at, taste = began, who % CATEGORIES
    for _ in range(VIEWS):
        at += 2 * SECOND
        what = _draw_candidate(draw, plan, taste if draw.random() < 0.7 else None)
        yield happen(row, at, "Product Viewed", {"product_id": f"o-{what}", "category": f"k-{what % CATEGORIES}"})
    at += SECOND // 2
    shown = draw.choice(plan.candidates, SHOWN, replace=False).tolist()
    decision = decide(plan, row, f"d-{number}", at, shown, number)
    yield decision
    for position, what in enumerate(shown, 1):
        at += SECOND // 2
        told = {
            "decision_id": f"d-{number}",
            "placement": PLACEMENT,
            "promotion_id": f"o-{what}",
            "category": f"k-{what % CATEGORIES}",
            "position": position,
        }
        yield happen(row, at, "Promotion Viewed", told)
        chance = (
            (0.22 if what % CATEGORIES == taste else 0.04) * (1.0 - 0.15 * position) * (1.3 - what / plan.candidates)
        )
        if draw.random() < chance:
            at += SECOND // 2
            yield happen(row, at, "Promotion Clicked", told)
            yield from _buy(draw, row, at, what)


def _buy(draw: np.random.Generator, row: Row, at: int, what: int) -> Iterator[Event]:
    """What some do with what they clicked on."""
    product = {"product_id": f"o-{what}", "category": f"k-{what % CATEGORIES}", "price": 5.0 + what, "quantity": 1}
    if draw.random() < 0.5:
        yield happen(row, at + SECOND // 10, "Product Added", product)
        if draw.random() < 0.5:
            order = {"order_id": f"{row.text}-{at:x}", "products": [product], "revenue": 5.0 + what}
            yield happen(row, at + SECOND // 5, "Order Completed", order)


def _draw_candidate(draw: np.random.Generator, plan: Plan, category: int | None) -> int:
    found = int(min(draw.pareto(1.1) / 20, 0.999) * plan.candidates)
    return found if category is None else min(found - found % CATEGORIES + category, plan.candidates - 1)
