"""The file of an audience: Parquet or CSV by its ending, there as a whole or not at all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from pyarrow import parquet as pq

from service.audiences.schema import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from service.audiences.schema import Line

FORMATS = ("parquet", "csv")
FOLDER = "audiences"
"""Of the home: where those stand that the API makes."""


class AudienceError(ValueError):
    """An audience that cannot be made; the message says what to change, and `field` where."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


def format_of(path: Path) -> str:
    """Raises AudienceError."""
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise AudienceError(f"{path}: a file that ends in .parquet or .csv is expected")
    return ending


class Sheet:
    """A file that is being written."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, lines: Sequence[Line]) -> None:
        if lines:
            columns = zip(*map(msgspec.structs.astuple, lines), strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, COLUMNS, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=COLUMNS))


@contextlib.contextmanager
def open_sheet(path: Path) -> Iterator[Sheet]:
    """Raises AudienceError when the file cannot be written. It takes its name at the end; without an end, it is not."""
    form = format_of(path)
    temporary = path.with_name(f".{path.name}.new")
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        file = temporary.open("wb")
    except OSError as error:
        raise AudienceError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        with file:
            make = pq.ParquetWriter if form == "parquet" else csv.CSVWriter
            with make(file, COLUMNS) as writer:
                yield Sheet(writer)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def forget(folder: Path, customers: Sequence[str]) -> int:
    """Take the rows of customers out of all files of a folder -> how many there were."""
    gone = pa.array(list(customers), pa.string())
    removed = 0
    for path in sorted(folder.glob("*")):
        if path.suffix.removeprefix(".") not in FORMATS or path.name.startswith("."):
            continue
        with contextlib.suppress(FileNotFoundError):  # its seven days are over meanwhile
            table = _load(path)
            kept = table.filter(pc.invert(pc.is_in(table["customer"], gone)))
            if kept.num_rows < table.num_rows:
                _save(kept, path)
                removed += table.num_rows - kept.num_rows
    return removed


def _load(path: Path) -> pa.Table:
    if format_of(path) == "parquet":
        return pq.read_table(path)
    types = {field.name: field.type for field in COLUMNS}
    said = csv.ConvertOptions(column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False)
    return csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=said)


def _save(table: pa.Table, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.kept")
    write = pq.write_table if format_of(path) == "parquet" else csv.write_csv
    try:
        write(table, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
