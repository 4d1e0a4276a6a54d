"""Candidates of a generation that is being built: their rows by partition and merged ones, kept under names of their
own until the generation serves, and the snapshot that they are swapped by.
"""

from __future__ import annotations

import time
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import msgspec

from features import generations, snapshots, stream
from features.aggregates.rows import LAYOUTS, merge
from features.generations import staged
from features.streaming import BATCH, candidates_key, changed_key, row_field, store_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis import Redis

    from features.aggregates.engine import Candidates
    from features.aggregates.rows import Row
    from features.following import Changed
    from features.store import OnlineStore

VIEWS = ("candidate", "successors")


def stages(numbers: Iterable[int]) -> list[str]:
    """The keys that generations build for under names of their own."""
    return [snapshots.ROWS, *(key(number) for number in numbers for key in (candidates_key, changed_key))]


def all_rows(candidates: dict[int, Candidates]) -> set[Changed]:
    return {(number, view, key) for number, part in candidates.items() for view in VIEWS for key in getattr(part, view)}


def write(
    redis: Redis,
    store: OnlineStore,
    candidates: dict[int, Candidates],
    changed: set[Changed],
    check: Callable[[], None],
) -> None:
    """Put the rows that changed where they wait to be swapped in; `check` raises where nothing may be written."""
    by_partition: dict[int, list[tuple[str, int]]] = {}
    for number, view, key in changed:
        by_partition.setdefault(number, []).append((view, key))
    for number, keys in by_partition.items():
        for start in range(0, len(keys), BATCH):
            some = [(view, key, getattr(candidates[number], view)[key]) for view, key in keys[start : start + BATCH]]
            check()
            with redis.pipeline(transaction=False) as pipe:
                rows = {row_field(view, key): store_row(row) for view, key, row in some}
                pipe.hset(staged(candidates_key(number), store.generation), mapping=rows)
                arrivals = {row_field(view, key): row.applied for view, key, row in some}
                pipe.zadd(staged(changed_key(number), store.generation), arrivals)
                pipe.execute()
    for view in VIEWS:
        whole = sorted({key for _, of, key in changed if of == view})
        for start in range(0, len(whole), BATCH):
            merged = {key: _merge(candidates, view, key) for key in whole[start : start + BATCH]}
            check()
            store.write(view, merged.values())
            rows = {row_field(view, key): store_row(row) for key, row in merged.items()}
            redis.hset(staged(snapshots.ROWS, store.generation), mapping=rows)


def _merge(candidates: dict[int, Candidates], view: str, key: int) -> Row:
    """A candidate's row of all partitions that have one, in their order."""
    parts = [getattr(candidates[number], view) for number in sorted(candidates)]
    merged: Row = reduce(partial(merge, LAYOUTS[view]), [rows[key] for rows in parts if key in rows])
    return merged


def flip(redis: Redis, owner: str, generation: int, positions: dict[int, int], replayed: str) -> bool:
    """Let the generation serve, with its candidates and a snapshot of them, all at once; False if the lease is lost.

    `positions`: partition -> arrival of the last event in it; `replayed`: what REPLAYED says from then on.
    """
    with redis.pipeline(transaction=False) as pipe:
        for number, position in positions.items():
            pipe.hset(staged(candidates_key(number), generation), "applied", str(position))
        pipe.get(snapshots.HEAD)
        pipe.mget([stream.cursor_key(number) for number in positions])
        *_, payload, cursors = pipe.execute()
    old = snapshots.decode_head(payload) if payload else snapshots.Head(0, 0)
    now = max(time.time_ns() // 1000, old.time + 1)
    head = snapshots.Head(old.number + 1, now, {str(number): position for number, position in positions.items()})
    snapshots.record(redis, head)
    values: dict[str, Any] = {snapshots.HEAD: msgspec.msgpack.encode(head), generations.REPLAYED: replayed}
    for (number, position), cursor in zip(positions.items(), cursors, strict=True):
        values[stream.cursor_key(number)] = max(position, int(cursor or 0))  # Redis may have lost what it knew
    change = msgspec.msgpack.encode(snapshots.Change(head, {}, whole=True))
    pairs = {staged(key, generation): key for key in stages(positions)}
    told = (snapshots.CHANGES, "c", change, snapshots.KEPT_CHANGES)
    return generations.flip(redis, owner, generation, pairs, values, told)
