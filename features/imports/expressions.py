"""The mapping's expressions against the files' columns: resolved to SQL, and checked all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import msgspec

from features.documents import DocumentError
from features.imports.mapping import UNIX, first_line, is_a_name
from features.imports.reading import OWN
from features.imports.sources import columns_of, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.documents import Document, Place
    from features.imports.mapping import Mapping

FLOATS = ("FLOAT", "DOUBLE")
NUMBERS = (
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
    *FLOATS,
)
TIMES = ("TIMESTAMP", "DATE")


class Resolved(msgspec.Struct, frozen=True):
    """An expression as SQL, and the type of its values."""

    sql: str
    type: str

    def is_a(self, types: Sequence[str]) -> bool:
        return self.type.startswith(tuple(types)) and not self.type.endswith("]")


class Expressions(msgspec.Struct, frozen=True):
    """All expressions of a mapping by their place, over the relation `rows`."""

    rows: str
    """A SELECT in parentheses: the table `lines` with types and derived columns."""
    type_failures: dict[str, str]
    """Column with a type -> SQL that is true where its value is not of it."""
    found: dict[Place, Resolved]

    def get(self, *place: str | int) -> Resolved | None:
        return self.found.get(place)


def resolve(connection: duckdb.DuckDBPyConnection, document: Document, mapping: Mapping) -> Expressions:
    """Raises DocumentError with every type and expression that does not fit the files, at its place."""
    problems: list[str] = []
    rows, failures = _typed(connection, document, mapping, problems)
    for name, text in mapping.derive.items():
        resolved = _resolve(connection, rows, text)
        if isinstance(resolved, str):
            problems.append(document.problem(("derive", name), resolved))
            resolved = Resolved("NULL", "NULL")  # so that what uses it is not reported too
        star = f"* REPLACE ({resolved.sql} AS {quote(name)})"
        if name.lower() not in {column.lower() for column in columns_of(connection, rows)}:
            star = f"*, {resolved.sql} AS {quote(name)}"
        rows = f"(SELECT {star} FROM {rows})"  # noqa: S608  # checked to be an expression
    found: dict[Place, Resolved] = {}
    for place, text in _places(mapping):
        resolved = _resolve(connection, rows, text)
        message = resolved if isinstance(resolved, str) else _misfit(place, resolved, mapping)
        if message is not None:
            problems.append(document.problem(place, message))
        elif isinstance(resolved, Resolved):
            found[place] = resolved
    if problems:
        raise DocumentError(document.name, problems)
    return Expressions(rows, failures, found)


def _typed(
    connection: duckdb.DuckDBPyConnection, document: Document, mapping: Mapping, problems: list[str]
) -> tuple[str, dict[str, str]]:
    columns = {name.lower(): name for name in columns_of(connection, "lines") if name not in OWN}
    casts, texts, failures = [], [], {}
    for name, kind in mapping.types.items():
        column, text = quote(columns.get(name.lower(), name)), quote(f"#text {name}")
        problem = None
        if name.lower() not in columns:
            problem = f"there is no such column; there are {', '.join(columns.values())}"
        else:
            try:
                connection.execute(f"SELECT TRY_CAST({column} AS {kind}) FROM lines LIMIT 0")  # noqa: S608  # read-only
            except duckdb.Error as error:
                problem = f"an SQL type such as BIGINT or DOUBLE is expected: {first_line(error)}"
        if problem is not None:
            problems.append(document.problem(("types", name), problem))
            continue
        casts.append(f"TRY_CAST({column} AS {kind}) AS {column}")
        texts.append(f"{column} AS {text}")
        failures[name] = f"({text} IS NOT NULL AND {column} IS NULL)"
    if not casts:
        return "lines", failures
    rows = f"(SELECT * REPLACE ({', '.join(casts)}), {', '.join(texts)} FROM lines)"  # noqa: S608  # checked above
    return rows, failures


def _resolve(connection: duckdb.DuckDBPyConnection, rows: str, text: str) -> Resolved | str:
    """The SQL of a column or expression, or what is wrong with it."""
    columns = {name.lower(): (name, kind) for name, kind in columns_of(connection, rows).items()}
    if (column := columns.get(text.strip().lower())) is not None:
        return Resolved(quote(column[0]), column[1])
    if is_a_name(text):
        named = ", ".join(name for name, _ in columns.values() if not name.startswith("#"))
        return f"there is no column {text!r}; there are {named}"
    # A failing row gives NULL, and never ends the import; what TRY does not take (windows) is used as it stands.
    for sql in (f"TRY({text}\n)", f"({text}\n)"):
        try:
            found = connection.execute(f"DESCRIBE SELECT *, {sql} FROM {rows}").fetchall()  # noqa: S608  # read-only
            return Resolved(sql, str(found[-1][1]))
        except duckdb.Error as error:
            problem = first_line(error)
    return problem


def _misfit(place: Place, resolved: Resolved, mapping: Mapping) -> str | None:
    if place[0] == "where" and resolved.type != "BOOLEAN":
        return f"a condition is expected, and this is a {resolved.type}"
    if place[:2] == ("group", "sums") and not resolved.is_a((*NUMBERS, "VARCHAR")):
        return f"a number is expected, and this is a {resolved.type}"
    if place == ("columns", "time"):
        return _misfit_time(resolved, mapping.time_format)
    return None


def _misfit_time(resolved: Resolved, time_format: str | None) -> str | None:
    if resolved.is_a(NUMBERS) and time_format not in UNIX:
        return f"a number: say with time_format which, one of {', '.join(UNIX)}"
    if not resolved.is_a((*TIMES, *NUMBERS, "VARCHAR")):
        return f"a time is expected, and this is a {resolved.type}"
    if time_format is not None and resolved.is_a(TIMES):
        return "this is a time already: leave time_format out"
    return None


def _places(mapping: Mapping) -> list[tuple[Place, str]]:
    """Every expression with its place, but `derive`, in the document's order."""
    columns, group, candidates = mapping.columns, mapping.group, mapping.candidates
    found: list[tuple[Place, str | None]] = [
        (("columns", "customer"), columns.customer),
        (("columns", "anonymous"), columns.anonymous),
        (("columns", "time"), columns.time),
        (("columns", "event"), columns.event.column),
    ]
    found += [(("properties", name), text) for name, text in mapping.properties.items()]
    found += [(("where", at, "keep"), condition.keep) for at, condition in enumerate(mapping.where)]
    if group is not None:
        found += [(("group", "by", at), text) for at, text in enumerate(group.by)]
        found += [(("group", "products", name), text) for name, text in group.products.items()]
        found += [(("group", "sums", name), text) for name, text in group.sums.items()]
    found += [(("order_by", at), text) for at, text in enumerate(mapping.order_by)]
    if candidates is not None:
        names = ("id", "title", "category", "price", "value")
        found += [(("candidates", name), getattr(candidates, name)) for name in names]
    return [(place, text) for place, text in found if text is not None]
