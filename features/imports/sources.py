"""The input files, and the DuckDB that reads them and nothing else on the machine or the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

import duckdb
import msgspec

from features.imports.mapping import Format

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl",
    ".parquet": "parquet",
}


class SourceError(ValueError):
    """Files that cannot be imported; the message names each of them."""


class Source(msgspec.Struct, frozen=True):
    path: Path
    format: Format


def find(paths: Sequence[Path], format: Format | None) -> list[Source]:  # noqa: A002  # the mapping's word for it
    """The files, and those in folders that have a known ending, by name. Raises SourceError."""
    sources: dict[Path, Source] = {}
    problems = []
    for path in paths:
        if path.is_dir():
            inside = [file for file in sorted(path.iterdir()) if file.is_file() and _ending(file)]
            if not inside:
                problems.append(f"{path}: no file in this folder ends with {', '.join(ENDINGS)}")
        elif path.is_file():
            inside = [path]
        else:
            inside = []
            problems.append(f"{path}: there is no such file")
        for file in inside:
            known = format or _ending(file)
            if known is None:
                problems.append(
                    f"{file}: the ending says no format: set `format` in the mapping to one of "
                    f"{', '.join(get_args(Format))}"
                )
            else:
                sources[file.resolve()] = Source(file.resolve(), known)
    if problems:
        raise SourceError("\n".join(problems))
    return list(sources.values())


def _ending(path: Path) -> Format | None:
    return next((known for ending, known in ENDINGS.items() if path.name.lower().endswith(ending)), None)


def connect(sources: Sequence[Source], time_zone: str, spill: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory (what does not fit goes to the folder `spill`) that may open the sources only.

    A mapping's expressions are the user's own; still they can neither read other files nor load extensions.
    """
    connection = duckdb.connect()
    allowed = ", ".join(quote_text(str(source.path)) for source in sources)
    for statement in (
        f"SET TimeZone = {quote_text(time_zone)}",
        f"SET temp_directory = {quote_text(str(spill))}",
        "SET autoinstall_known_extensions = false",
        "SET autoload_known_extensions = false",
        f"SET allowed_paths = [{allowed}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        connection.execute(statement)
    return connection


def quote(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def columns_of(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Name and type of each column of a table, view or SELECT (in parentheses)."""
    rows = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()  # noqa: S608  # made by the callers
    return cast("dict[str, str]", {row[0]: row[1] for row in rows})
