"""The columns that reports make of events."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

MEETINGS = pa.schema(
    [
        ("decision", pa.int64()),
        ("unit", pa.int64()),
        ("person", pa.int64()),
        ("arm", pa.int16()),
        ("kind", pa.int8()),
        ("chance", pa.float64()),
        ("segments", pa.list_(pa.string())),
        ("time", pa.int64()),
        ("arrival", pa.int64()),
    ]
)
VIEWS = pa.schema([("decision", pa.int64()), ("time", pa.int64()), ("arrival", pa.int64())])
OUTCOMES = pa.schema([("person", pa.int64()), ("measure", pa.int16()), ("time", pa.int64()), ("amount", pa.float64())])
LINKS = pa.schema([("previous", pa.int64()), ("person", pa.int64())])
DRAFTED = pa.schema([("decision", pa.int64()), ("item", pa.int64()), ("team", pa.int16()), ("arrival", pa.int64())])
CLICKS = pa.schema(
    [
        ("decision", pa.int64()),
        ("item", pa.int64()),
        ("person", pa.int64()),
        ("time", pa.int64()),
        ("arrival", pa.int64()),
    ]
)


def tabulate(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """A table of rows."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)
