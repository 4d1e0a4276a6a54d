"""Small files of rows in every format, imports of them, and what the archive then holds."""

from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from features import archive
from features.events.schema import Event, Track, decode
from features.imports import importing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from features.home import Home

Row = dict[str, Any]
NOW = 1_800_000_000_000_000
DAY = 86_400 * 1_000_000

VIEWS = """
columns: {customer: who, time: when, event: {value: Product Viewed}}
properties: {product_id: item, price: price}
types: {price: DOUBLE}
"""

ORDERS = """
columns: {customer: who, time: when, event: {value: Order Completed}}
types: {price: DOUBLE, quantity: BIGINT}
where:
  - {keep: quantity > 0, reason: returned}
properties: {order_id: number}
group:
  by: [number]
  products: {product_id: item, price: price, quantity: quantity}
  sums: {revenue: price * quantity}
candidates:
  id: item
  title: upper(item)
  price: price
  currency: EUR
  placement: {id: home-grid, limit: 4}
"""


def write(path: Path, rows: Sequence[Row]) -> Path:
    """The rows as a file of the format that its name says."""
    columns = list(rows[0])
    if path.name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if ".csv" in path.name:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


def run(
    home: Home, mapping: str, *files: Path, now: int = NOW, shift: bool = False, folder: Path | None = None
) -> importing.Summary:
    """Import with the text of a mapping."""
    path = (folder or home.root) / "mapping.yaml"
    path.write_text(mapping)
    return importing.import_files(home, files, path, now, shift)


def archived(home: Home) -> list[tuple[int, bytes, Event]]:
    """(arrival, payload, event) of everything, by arrival."""
    table = archive.read(home.events, ["arrival", "payload"])
    pairs = zip(table["arrival"].to_pylist(), table["payload"].to_pylist(), strict=True)
    return [(arrival, payload, decode(payload)) for arrival, payload in pairs]


def tracks(home: Home) -> list[Track]:
    return [event for _, _, event in archived(home) if isinstance(event, Track)]


def digest(home: Home) -> dict[str, bytes]:
    """Every file of the archive with its bytes."""
    return {file.path: (home.events / file.path).read_bytes() for file in archive.files(home.events)}


def rejects(summary: importing.Summary) -> list[Row]:
    assert summary.rejected_file is not None
    return [json.loads(line) for line in summary.rejected_file.read_text().splitlines()]


def views(items: Iterable[str], who: str = "c-1", start: int = 0) -> list[Row]:
    """A view a minute."""
    return [
        {"who": who, "when": f"2024-03-01 10:{start + at:02d}:00", "item": item, "price": 1.5 + at}
        for at, item in enumerate(items)
    ]
