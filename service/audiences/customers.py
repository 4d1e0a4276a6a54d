"""All customers there are, with their states: as the online store has them now, or the historical store had them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import duckdb
import msgspec
import numpy as np
from redis import Redis

from features import tenancy
from features.aggregates.rows import LAYOUTS
from features.reserved import CANARY
from features.store import Known, OnlineStore, Packed
from features.traits import Traits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from features.home import Home

BATCH = 500
SCANNED = 2000
PROBE = "\x00probe\x00"
LENGTH = 4
"""Bytes before an id in a key, that say how long it is."""

Batch = list[tuple[str, Known]]


def list_online(store: OnlineStore, redis_url: str) -> list[str]:
    """Every id that has a row of some kind, sorted."""
    store.follow()
    probe = store.redis_key(PROBE)
    start = probe.index(PROBE.encode())
    head, project = probe[: start - LENGTH], store.project.encode()
    found = set()
    with Redis.from_url(redis_url) as client:
        for key in client.scan_iter(count=SCANNED):
            if key.startswith(head) and key.endswith(project):
                end = start + int.from_bytes(key[start - LENGTH : start], "little")
                if key[end:] == project:
                    found.add(key[start:end].decode())
    return sorted(found - {CANARY})


async def read_online(store: OnlineStore, ids: list[str]) -> AsyncIterator[Batch]:
    """In batches, as they are at that moment."""
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        yield list(zip(part, await store.read_customers(part), strict=True))


def read_history(home: Home, at: int) -> tuple[int, Iterator[Batch]]:
    """(how many, batches) of those whose first row was there at `at` (microseconds), by all of the archive."""
    with tenancy.hold(home, partial(tenancy.renew, home)):
        return _read_history(home, at)


def _read_history(home: Home, at: int) -> tuple[int, Iterator[Batch]]:
    layout = LAYOUTS["customer"]
    # A history of nothing has no file of rows, or one without any.
    tables = {view: str(home.history / view / "*.parquet") for view in ("customer", "identity")}
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        f"""
        CREATE TABLE crowd AS
        WITH rows AS (
          SELECT customer, max(applied) AS applied, arg_max("{layout.numbers}", applied) AS numbers,
                 arg_max("{layout.ids}", applied) AS ids
          FROM read_parquet($customer) WHERE event_timestamp <= make_timestamptz($at) GROUP BY customer),
        said AS (
          SELECT customer, arg_max(owner, event_timestamp) AS owner, arg_max(consent, event_timestamp) AS consent,
                 arg_max(assignment, event_timestamp) AS assignment, arg_max(traits, event_timestamp) AS traits
          FROM read_parquet($identity) WHERE event_timestamp <= make_timestamptz($at) GROUP BY customer)
        SELECT coalesce(rows.customer, said.customer) AS customer, applied, numbers, ids, owner, consent,
               assignment, traits
        FROM rows FULL JOIN said ON rows.customer = said.customer
        """,  # noqa: S608  # names of our own columns
        {**tables, "at": at},
    )
    connection.execute("DELETE FROM crowd WHERE customer = $canary", {"canary": CANARY})
    count = len(connection.execute("SELECT customer FROM crowd").fetchall())

    def batches() -> Iterator[Batch]:
        reader = connection.execute("SELECT * FROM crowd ORDER BY customer")
        while rows := reader.fetchmany(BATCH):
            yield [(str(row[0]), _known(*row[1:])) for row in rows]

    return count, batches()


def _known(
    applied: int | None,
    numbers: list[float] | None,
    ids: list[int] | None,
    owner: str | None,
    said: str | None,
    assignment: str | None,
    told: str | None,
) -> Known:
    row = None
    if applied is not None and numbers is not None and ids is not None:
        row = Packed(applied, np.array(numbers, np.float64), np.array(ids, np.int64))
    consent = msgspec.json.decode(said, type=dict[str, tuple[int, bool]]) if said else {}
    traits = msgspec.json.decode(told, type=Traits) if told else {}
    return Known(row, owner or "", consent, assignment=assignment or "", traits=traits)
