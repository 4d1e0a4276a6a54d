"""Which events the archive lacks, when they arrive, and their rows as archived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from features import archive
from features.events.schema import SCHEMA, decode
from features.imports.building import reject
from features.imports.screening import FUTURE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

    from features.imports.mapping import Mapping

WEEK = 7 * 86_400 * 1_000_000
BATCH = 20_000
CHANGED = "an event of the archive with other rows"
NO_JSON = "a number that JSON does not have"


class Fresh(msgspec.Struct, frozen=True):
    """What an import adds to the archive."""

    events: pa.Table
    known: int
    """Events that the archive had already."""
    shift: int
    """Microseconds added to all times."""


def choose(
    connection: duckdb.DuckDBPyConnection,
    mapping: Mapping,
    archived: pa.Table,
    now: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Fresh:
    """The events that `archived` (columns partition, message_id, customer, arrival, time) lacks.

    Rows of a group that is there with other rows are rejected. `progress` is told (events done, events in all).
    """
    connection.register("archived", archived)
    imported = f"SELECT * FROM archived WHERE partition = {archive.IMPORTED}"  # noqa: S608  # a number
    connection.execute(f"CREATE TABLE there AS {imported}")
    if mapping.group is not None:
        connection.execute("CREATE TABLE changed AS SELECT key FROM events ANTI JOIN there USING (message_id)")
        connection.execute("DELETE FROM changed WHERE key NOT IN (SELECT split_part(message_id, '-', 1) FROM there)")
        reject(connection, mapping, CHANGED, "SELECT key FROM changed")
    shift = _shift(connection, mapping, now)
    reject(connection, mapping, FUTURE, f"SELECT key FROM events WHERE time + {shift} > {now}")  # noqa: S608  # numbers
    connection.execute(
        f"""
        CREATE TABLE fresh AS SELECT * EXCLUDE (nth), nth + max(time - nth) OVER (
            PARTITION BY customer ORDER BY ordinal ROWS UNBOUNDED PRECEDING
        ) AS arrival
        FROM (
            SELECT * REPLACE (time + {shift} AS time), row_number() OVER (PARTITION BY customer ORDER BY ordinal) AS nth
            FROM events ANTI JOIN there USING (message_id)
        )
        """  # noqa: S608  # a number
    )
    _part(connection)
    (known, total) = connection.execute(
        "SELECT (SELECT count(*) FROM events SEMI JOIN there USING (message_id)), (SELECT count(*) FROM fresh)"
    ).fetchall()[0]
    batches, bad = [], []
    for batch in _render(connection):
        refused = _unwritable(batch)
        bad += batch["message_id"].filter(refused).to_pylist()
        batches.append(batch.filter(pc.invert(refused)))
        progress(sum(len(done) for done in batches), total)
    if bad:
        connection.register("bad", pa.table({"message_id": bad}))
        reject(connection, mapping, NO_JSON, "SELECT key FROM events SEMI JOIN bad USING (message_id)")
        connection.unregister("bad")
    events = pa.Table.from_batches(batches, archive.SCHEMA) if batches else archive.SCHEMA.empty_table()
    connection.unregister("archived")
    return Fresh(events, known, shift)


def _shift(connection: duckdb.DuckDBPyConnection, mapping: Mapping, now: int) -> int:
    """What is there fixes the shift of what comes: else parts of one history would drift apart."""
    (given,) = connection.execute(
        "SELECT any_value(there.time - events.time) FROM events JOIN there USING (message_id)"
    ).fetchall()[0]
    if given is not None:
        return int(given)
    (newest,) = connection.execute("SELECT max(time) FROM events").fetchall()[0]
    return 0 if mapping.shift_to is None or newest is None else (now - int(newest)) // WEEK * WEEK


def _part(connection: duckdb.DuckDBPyConnection) -> None:
    """Move new arrivals off those that a customer has in the archive: no two of a customer's rows share an instant."""
    meeting = "SELECT customer FROM fresh SEMI JOIN archived USING (customer, arrival)"
    concerned = f"WHERE customer IN ({meeting})"
    rows = connection.execute(
        f"SELECT message_id, customer, arrival FROM fresh {concerned} ORDER BY customer, arrival"  # noqa: S608  # as above
    ).fetchall()
    if not rows:
        return
    there = connection.execute(f"SELECT customer, arrival FROM archived {concerned}").fetchall()  # noqa: S608  # as above
    taken = set(there)
    moved: dict[str, int] = {}
    before = ("", 0)
    for message_id, customer, wanted in rows:
        arrival = max(wanted, before[1] + 1) if customer == before[0] else wanted
        while (customer, arrival) in taken:
            arrival += 1
        before = (customer, arrival)
        if arrival != wanted:
            moved[message_id] = arrival
    connection.register("moved", pa.table({"message_id": list(moved), "arrival": list(moved.values())}))
    connection.execute("UPDATE fresh SET arrival = moved.arrival FROM moved WHERE fresh.message_id = moved.message_id")
    connection.unregister("moved")


def _render(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    """The archive's columns, by arrival; the payload as `schema.encode` gives it for a Track."""
    reader: Any = connection.sql(
        f"""
        SELECT arrival, CAST({archive.IMPORTED} AS INTEGER) AS partition, 'track' AS type, event, customer, message_id,
            time, concat_ws(
                ',',
                '{{"type":"track","schema":{SCHEMA},"messageId":"' || message_id || '"',
                '"customer":' || to_json(customer),
                '"time":' || time,
                '"received":' || arrival,
                '"userId":' || to_json(known),
                '"anonymousId":' || to_json(anonymous),
                '"event":' || to_json(event),
                '"properties":{{' || nullif(body, '') || '}}'
            ) || '}}' AS payload
        FROM fresh ORDER BY arrival, message_id
        """  # noqa: S608  # a number
    ).to_arrow_reader(BATCH)
    for batch in reader:
        yield batch.cast(archive.SCHEMA)


def _unwritable(batch: pa.RecordBatch) -> pa.BooleanArray:
    """Which events hold a NaN or Infinity somewhere inside: DuckDB writes them, and JSON has none."""
    suspected = pc.match_substring_regex(batch["payload"].cast(pa.string()), "NaN|Infinity").to_pylist()
    return pa.array([suspect and not _is_event(batch["payload"][at].as_py()) for at, suspect in enumerate(suspected)])


def _is_event(payload: bytes) -> bool:
    try:
        decode(payload)
    except msgspec.MsgspecError:
        return False
    return True
