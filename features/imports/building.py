"""Accepted rows into the table `events`: one a row, or one a group of rows.

A message id is a hash of the row and how often it stood before in its file; for a group, of what it is grouped by, and
of its rows. So a second import of the same rows adds nothing, whatever files they come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from features.imports.sources import quote_text

if TYPE_CHECKING:
    import duckdb

    from features.imports.mapping import Mapping


def build(connection: duckdb.DuckDBPyConnection, mapping: Mapping) -> None:
    """Make `events`: `key`, `message_id`, `customer`, `known`, `anonymous`, `event`, `time`, `body` and `ordinal`.

    A group happens at its last row's time: what is known then must not be seen earlier. The rest of what differs
    between its rows is taken from the first that has it. `accepted` gets the `key` of each row's event.
    """
    if mapping.group is None:
        _name_rows(connection, "md5(event || chr(31) || id) || '-' || split_part(id, '-', 2)")
        connection.execute(
            "CREATE VIEW events AS "
            "SELECT key, key AS message_id, customer, known, anonymous, event, time, body, ordinal FROM accepted"
        )
        return
    by = ", ".join(f"coalesce(by_{at}, '')" for at in range(len(mapping.group.by)))
    _name_rows(connection, f"md5(concat_ws(chr(31), event, customer, {by}))")
    sums = ", ".join(
        # Sums of nothing but nulls are left out, as null properties are.
        f"{quote_text(msgspec.json.encode(name).decode())} || ':' || to_json(CAST(sum(sum_{at}) AS DOUBLE))"
        for at, name in enumerate(mapping.group.sums)
    )
    products = "'\"products\":[' || string_agg(product, ',' ORDER BY ordinal) || ']'"
    connection.execute(
        f"""
        CREATE TABLE events AS
        SELECT key, key || '-' || format('{{:016x}}', bit_xor(md5_number_lower(id))) AS message_id,
            first(customer) AS customer, arg_min(known, ordinal) AS known, arg_min(anonymous, ordinal) AS anonymous,
            first(event) AS event, max(time) AS time, max(ordinal) AS ordinal,
            concat_ws(',', nullif(arg_min(body, ordinal), ''), {products}{", " + sums if sums else ""}) AS body
        FROM accepted GROUP BY key
        """  # noqa: S608  # names made here or quoted
    )


def _name_rows(connection: duckdb.DuckDBPyConnection, key: str) -> None:
    connection.execute("ALTER TABLE accepted RENAME TO unnamed")
    connection.execute(f"CREATE VIEW accepted AS SELECT *, {key} AS key FROM unnamed")  # noqa: S608  # as above


def reject(connection: duckdb.DuckDBPyConnection, mapping: Mapping, reason: str, keys: str) -> None:
    """Take events back, and reject their rows; `keys` is a SELECT of the events' keys."""
    of_event = "" if mapping.group is None else "DELETE FROM events WHERE key IN (FROM refused_keys);"
    connection.execute(
        f"""
        CREATE TABLE refused_keys AS {keys};
        CREATE TABLE refused AS SELECT "#file", "#row" FROM accepted WHERE key IN (FROM refused_keys);
        INSERT INTO rejected SELECT *, {quote_text(reason)} FROM refused;
        DELETE FROM unnamed WHERE ("#file", "#row") IN (FROM refused);
        {of_event}
        DROP TABLE refused; DROP TABLE refused_keys;
        """  # noqa: S608  # a SELECT of our own
    )
