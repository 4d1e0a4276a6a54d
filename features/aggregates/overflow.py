"""Tables that overflow, over many events: as the streaming form, but by a heap instead of a look at all keys each time.

What a key is dropped by changes with its own row only, so that an entry of the heap is true while the row is as it was.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf, log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from features.aggregates.keyed import Affinity, History

Stream = list[tuple[float, float, tuple[int, ...]]]
"""(time, amount, keys) of each event."""


def run_affinity(kind: Affinity, events: Stream) -> dict[int, list[float]]:
    """The rows that events leave, from nothing."""
    half_life, bound = kind.half_life, kind.bound
    rows: dict[int, list[float]] = {}
    weights: dict[int, float] = {}
    heap: list[tuple[float, int]] = []
    for time, amount, keys in events:
        for key in keys:
            row = rows.get(key)
            if row is None:
                rows[key] = row = [amount, time]
            elif time >= row[1]:  # as `aging.decay`
                row[0] = row[0] * 2.0 ** ((row[1] - time) / half_life) + amount
                row[1] = time
            else:
                row[0] += amount * 2.0 ** ((time - row[1]) / half_life)
            if heap:
                weights[key] = weight = _weight(row, half_life)
                heappush(heap, (weight, key))
        if len(rows) > bound:
            if not heap:
                weights = {key: _weight(row, half_life) for key, row in rows.items()}
                heap = [(weight, key) for key, weight in weights.items()]
                heapify(heap)
            _drop(rows, weights, heap, () if len(keys) >= bound else keys, bound)
    return rows


def _drop(
    rows: dict[int, list[float]],
    weights: dict[int, float],
    heap: list[tuple[float, int]],
    spared: tuple[int, ...],
    bound: int,
) -> None:
    passed = []
    while len(rows) > bound:
        one = heappop(heap)
        weight, key = one
        if weights.get(key) != weight:
            continue
        if key in spared:
            passed.append(one)
        else:
            del rows[key], weights[key]
    for one in passed:
        heappush(heap, one)


def _weight(row: list[float], half_life: float) -> float:
    value, time = row
    return log2(value) + time / half_life if value > 0 else -inf


def run_history(kind: History, events: Stream) -> dict[int, list[float]]:
    """The rows that events leave, from nothing."""
    rows: dict[int, list[float]] = {}
    heap: list[tuple[float, float, int]] = []
    for count, (time, amount, keys) in enumerate(events, 1):
        number = float(count)
        for key in keys:
            row = rows.get(key)
            if row is None:
                row = rows[key] = [amount, time, number]
            else:
                row[0] += amount
                row[1] = max(row[1], time)
                row[2] = number
            heappush(heap, (row[1], number, key))
        while len(rows) > kind.bound:
            time_of, number_of, key = heappop(heap)
            found = rows.get(key)
            if found is not None and (found[1], found[2]) == (time_of, number_of):
                del rows[key]
    return rows
