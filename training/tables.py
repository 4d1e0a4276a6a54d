"""Files of rows into columns, by a mapping's expressions: columns of the files, or SQL over them, as in imports.

Refuses what does not fit as a whole: a row that is left out silently would bias every figure made of the rest.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import duckdb
import msgspec
import numpy as np
from pydantic import Field

from features.documents import Document, DocumentError
from features.imports.mapping import Condition, Expression, Format, Name, Part, first_line, is_a_name
from features.imports.sources import Source, columns_of, connect, find, quote, quote_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeVar

    from features.documents import Place
    from training.labels import Floats, Ints

    Given = TypeVar("Given", bound="Reading")


class TableError(ValueError):
    """Files that cannot be read as the mapping says; the message names file and row."""


class Reading(Part):
    """What every mapping of rows may say of the files."""

    format: Format | None = None
    """By the file's ending if left out."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Of CSV files; found out if left out."""
    derive: dict[Name, Expression] = Field(default_factory=dict)
    """New columns, each may use those before it. Columns of CSV are text: `amount::DOUBLE` makes a number of one."""
    where: list[Condition] = Field(default_factory=list)
    """Only rows for which each `keep` holds."""


class Table(msgspec.Struct, frozen=True):
    """Rows as texts, by the names that were asked for; None where a row has no value."""

    path: Path
    rows: list[int]
    """The place of each in its file, from 1 and without the header."""
    columns: dict[str, list[str | None]]

    def texts(self, name: str) -> list[str]:
        """Raises TableError for a row without a value."""
        values = self.columns[name]
        missing = [at for at, value in enumerate(values) if value is None]
        self._refuse(missing, f"no {name}")
        return values  # type: ignore[return-value]  # none of them is None

    def numbers(self, name: str) -> Floats:
        """Raises TableError for a row whose value is no number."""
        found = np.array([_number(value) for value in self.columns[name]])
        self._refuse(np.flatnonzero(~np.isfinite(found)).tolist(), f"no number as {name}")
        return found

    def codes(self, *names: str) -> list[str]:
        """The values of some columns as one text a row."""
        columns = [self.texts(name) for name in names]
        return ["\x1f".join(values) for values in zip(*columns, strict=True)] if columns else [""] * len(self.rows)

    def _refuse(self, rows: list[int], what: str) -> None:
        if not rows:
            return
        value = f"; row {self.rows[rows[0]]:,} is the first"
        raise TableError(
            f"{self.path}: {len(rows):,} of {len(self.rows):,} rows have {what}{value}. "
            "Leave such rows out by `where` if they do not belong in the log"
        )


def read_mapping(path: Path, model: type[Given]) -> tuple[Document, Given]:
    """The mapping document. Raises DocumentError with every problem at its place."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(path), [f"{path}: {error}"]) from error
    document = Document(str(path), text)
    return document, document.validate(model)


def read(path: Path, document: Document, mapping: Reading, asked: Mapping[str, tuple[Place, str]]) -> Table:
    """`asked` has the expression of each column and where it stands. Raises TableError, SourceError, DocumentError."""
    (source,) = _only(find([path], mapping.format), path)
    with tempfile.TemporaryDirectory() as spill, connect([source], "UTC", Path(spill)) as connection:
        try:
            numbered = 'SELECT row_number() OVER () AS "#row", * FROM'
            connection.execute(f"CREATE TABLE lines AS {numbered} {_open(source, mapping)}")
        except duckdb.Error as error:
            raise TableError(f"{path}: cannot be read as {source.format}: {first_line(error)}") from error
        if not connection.execute("SELECT 1 FROM lines LIMIT 1").fetchall():  # before any column is missed
            raise TableError(f"{path}: there are no rows in it")
        rows = "lines"
        problems: list[str] = []
        for name, text in mapping.derive.items():
            sql = _resolve(connection, rows, text, document, ("derive", name), problems)
            rows = f"(SELECT *, {sql} AS {quote(name)} FROM {rows})"  # noqa: S608  # checked to be an expression
        found = {
            name: _resolve(connection, rows, text, document, place, problems) for name, (place, text) in asked.items()
        }
        kept = [
            _resolve(connection, rows, condition.keep, document, ("where", at, "keep"), problems)
            for at, condition in enumerate(mapping.where)
        ]
        if problems:
            raise DocumentError(document.name, problems)
        chosen = ", ".join(f"({sql})::VARCHAR" for sql in found.values())
        condition = " AND ".join(f"coalesce(({sql})::BOOLEAN, false)" for sql in kept) or "true"
        query = f'SELECT "#row", {chosen} FROM {rows} WHERE {condition} ORDER BY "#row"'  # noqa: S608  # checked above
        try:
            columns = list(zip(*connection.execute(query).fetchall(), strict=True))
        except duckdb.Error as error:
            raise TableError(f"{path}: {first_line(error)}") from error
    if not columns:
        raise TableError(f"{path}: there are no rows in it that `where` keeps")
    return Table(path, list(columns[0]), dict(zip(found, map(list, columns[1:]), strict=True)))


def number(texts: Sequence[str], known: dict[str, int]) -> Ints:
    """Each text's number; new ones are added to `known`."""
    return np.array([known.setdefault(text, len(known)) for text in texts], np.int64)


def _only(sources: list[Source], path: Path) -> list[Source]:
    if len(sources) != 1:
        raise TableError(f"{path}: one file is expected, not a folder of {len(sources)}")
    return sources


def _open(source: Source, mapping: Reading) -> str:
    path = quote_text(str(source.path))
    if source.format == "parquet":
        return f"read_parquet({path})"
    if source.format == "jsonl":
        return f"read_json({path}, format = 'newline_delimited')"
    delimiter = "" if mapping.delimiter is None else f", delim = {quote_text(mapping.delimiter)}"
    return f"read_csv({path}, header = true, all_varchar = true{delimiter})"


def _resolve(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    text: str,
    document: Document,
    place: Place,
    problems: list[str],
) -> str:
    """The SQL of a column or expression; what is wrong with it is added to the problems."""
    columns = {name.lower(): name for name in columns_of(connection, rows) if not name.startswith("#")}
    if (column := columns.get(text.strip().lower())) is not None:
        return quote(column)
    if is_a_name(text):
        problems.append(
            document.problem(place, f"there is no column {text!r}; there are {', '.join(columns.values())}")
        )
        return "NULL"
    try:
        connection.execute(f"DESCRIBE SELECT TRY({text}\n) FROM {rows}")  # noqa: S608  # read-only, and so is what runs
    except duckdb.Error as error:
        problems.append(document.problem(place, first_line(error)))
        return "NULL"
    return f"TRY({text}\n)"


def _number(text: str | None) -> float:
    lowered = "" if text is None else text.strip().lower()
    if lowered in ("true", "false"):
        return float(lowered == "true")
    try:
        return float(lowered)
    except ValueError:
        return float("nan")
