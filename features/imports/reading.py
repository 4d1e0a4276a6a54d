"""Files into one table `lines` of their rows, and one table `unreadable` of what is none.

To each row's columns come `#file` (its place in the sources), `#row` (from 1; header, blank and unreadable lines do not
stop the count of CSV and JSON lines), `#hash` of its content and `#again`, how often the same stood before in its file.
"""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING

import duckdb
import msgspec
import pyarrow as pa

from features.imports.mapping import first_line
from features.imports.sources import SourceError, columns_of, quote, quote_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from features.imports.mapping import Mapping
    from features.imports.sources import Source

DELIMITERS = ",;\t|"
LONGEST_LINE = 32 << 20
BATCH = 50_000
OWN = ("#file", "#row", "#hash", "#again")


def read(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[Source],
    mapping: Mapping,
    progress: Callable[[int], None] = lambda _rows: None,
) -> None:
    """Make the tables; `progress` is told the rows read so far. Raises SourceError for a file without any structure.

    Hashes are of the content as it stands, before any type or shift: a row has the same one in every file and run.
    """
    connection.execute('CREATE TABLE unreadable ("#file" INTEGER, "#row" BIGINT, reason VARCHAR, "text" VARCHAR)')
    total = 0
    for number, source in enumerate(sources):
        reader = {"csv": _read_csv, "jsonl": _read_json_lines, "parquet": _read_parquet}[source.format]
        try:
            reader(connection, number, source, mapping)
        except (duckdb.Error, OSError, EOFError, UnicodeError, csv.Error) as error:
            reason = first_line(error) if isinstance(error, duckdb.Error) else str(error)
            raise SourceError(f"{source.path}: cannot be read as {source.format}: {reason}") from error
        _require_distinct(source, [*columns_of(connection, f"file{number}")])
        (rows,) = connection.execute(f"SELECT count(*) FROM file{number}").fetchall()[0]  # noqa: S608  # a number
        total += rows
        progress(total)
    _unite(connection, sources)


def _unite(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> None:
    union = " UNION ALL BY NAME ".join(f"FROM file{number}" for number in range(len(sources)))
    try:
        connection.execute(f"CREATE VIEW every AS {union}")
        connection.execute(
            """
            CREATE TABLE lines AS SELECT every.*, coalesce(repeats.again, 0) AS "#again" FROM every LEFT JOIN (
                SELECT "#file", "#row", row_number() OVER (PARTITION BY "#file", "#hash" ORDER BY "#row") - 1 AS again
                FROM every
                WHERE ("#file", "#hash") IN (SELECT ("#file", "#hash") FROM every GROUP BY ALL HAVING count(*) > 1)
            ) AS repeats USING ("#file", "#row")
            """
        )
    except duckdb.Error as error:
        raise SourceError(f"the files' columns do not fit together: {first_line(error)}") from error
    connection.execute("DROP VIEW every")
    for number in range(len(sources)):
        connection.execute(f"DROP TABLE file{number}")


def _require_distinct(source: Source, names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if name.startswith("#") and name not in OWN:
            raise SourceError(f"{source.path}: the column {name!r} starts with #: rename it")
        if (other := seen.setdefault(name.lower(), name)) is not name:
            raise SourceError(f"{source.path}: the columns {other!r} and {name!r} differ in case only: rename one")


def _content(names: Sequence[str]) -> str:
    return "{" + ", ".join(f"{quote_text(name)}: {quote(name)}" for name in names) + "}"


def _read_parquet(connection: duckdb.DuckDBPyConnection, number: int, source: Source, _mapping: Mapping) -> None:
    file = f"read_parquet({quote_text(str(source.path))})"
    content = _content([*columns_of(connection, file)])
    connection.execute(
        f"""
        CREATE TABLE file{number} AS
        SELECT {number} AS "#file", file_row_number + 1 AS "#row", md5(to_json({content})::VARCHAR) AS "#hash",
            * EXCLUDE (file_row_number)
        FROM read_parquet({quote_text(str(source.path))}, file_row_number = true)
        """  # noqa: S608  # names and numbers, quoted
    )


def _read_csv(connection: duckdb.DuckDBPyConnection, number: int, source: Source, mapping: Mapping) -> None:
    """Every column as text: a type guessed from one file's values would differ in the next, and so would the hash."""
    header, delimiter = _header(source, mapping)
    _require_distinct(source, header)
    columns = "{" + ", ".join(f"{quote_text(name)}: 'VARCHAR'" for name in header) + "}"
    connection.execute(
        f"""
        CREATE TABLE read{number} AS
        SELECT row_number() OVER () AS "#row", * FROM read_csv(
            {quote_text(str(source.path))}, columns = {columns}, delim = {quote_text(delimiter)}, quote = '"',
            escape = '"', header = true, auto_detect = false, encoding = {quote_text(mapping.encoding)},
            max_line_size = {LONGEST_LINE}, store_rejects = true, rejects_limit = 0
        )
        """  # noqa: S608  # as above
    )
    # DuckDB's `line` counts records, the header as 1; the rows it passed over are put back into our count.
    connection.execute(
        f"""
        CREATE TEMP TABLE passed AS SELECT *, row_number() OVER (ORDER BY record) AS nth FROM (
            SELECT line - 1 AS record, first(error_type ORDER BY column_idx) AS kind,
                first(trim(csv_line, chr(10) || chr(13))) AS "text"
            FROM reject_errors GROUP BY ALL
        );
        INSERT INTO unreadable SELECT {number}, record, 'unreadable: ' || lower(kind::VARCHAR), "text" FROM passed;
        CREATE TABLE file{number} AS
        SELECT {number} AS "#file", "#row" + coalesce(nth, 0) AS "#row",
            md5(to_json({_content(header)})::VARCHAR) AS "#hash", read{number}.* EXCLUDE ("#row")
        FROM read{number} ASOF LEFT JOIN (
            SELECT record - nth AS before, max(nth) AS nth FROM passed GROUP BY ALL
        ) AS gaps ON read{number}."#row" > gaps.before;
        DROP TABLE read{number}; DROP TABLE passed; DELETE FROM reject_errors; DELETE FROM reject_scans;
        """  # noqa: S608  # as above
    )


def _header(source: Source, mapping: Mapping) -> tuple[list[str], str]:
    opener = gzip.open if source.path.name.endswith(".gz") else open
    encoding = "utf-8-sig" if mapping.encoding == "utf-8" else mapping.encoding
    with opener(source.path, "rt", encoding=encoding, errors="replace", newline="") as file:
        line = file.readline()
        if not line.strip():
            raise SourceError(f"{source.path}: the first line is empty; the names of the columns are expected there")
        delimiter = mapping.delimiter or max(DELIMITERS, key=line.count)
        file.seek(0)
        header = next(csv.reader(file, delimiter=delimiter))
    if "" in (names := [name.strip() for name in header]):
        raise SourceError(f"{source.path}: column {names.index('') + 1} has no name")
    return names, delimiter


def _read_json_lines(connection: duckdb.DuckDBPyConnection, number: int, source: Source, _mapping: Mapping) -> None:
    """Keys become columns: text, numbers and truth values typed over the whole file, what is nested as JSON."""
    connection.execute(f'CREATE TABLE read{number} ("#row" BIGINT, "text" VARCHAR)')
    for good, bad in _split_lines(source):
        for table, target in ((good, f"read{number}"), (bad, "unreadable")):
            if len(table):
                connection.register("batch", table)
                constant = f"{number}, " if target == "unreadable" else ""
                connection.execute(f"INSERT INTO {target} SELECT {constant}* FROM batch")  # noqa: S608  # two names
                connection.unregister("batch")
    query = f'SELECT json_group_structure("text"::JSON) FROM read{number}'  # noqa: S608  # a number
    found = connection.execute(query).fetchall()
    structure = msgspec.json.decode(found[0][0]) if found[0][0] else {}
    if not structure:
        raise SourceError(f"{source.path}: there is no JSON object in it, and one a line is expected")
    types = {key: kind if isinstance(kind, str) and kind != "NULL" else "JSON" for key, kind in structure.items()}
    _require_distinct(source, list(types))
    transform = quote_text(msgspec.json.encode(types).decode())
    connection.execute(
        f"""
        CREATE TABLE file{number} AS
        SELECT {number} AS "#file", "#row", md5("text") AS "#hash", unnest(json_transform("text", {transform}))
        FROM read{number};
        DROP TABLE read{number};
        """  # noqa: S608  # as above
    )


def _split_lines(source: Source) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Batches of (number, line) and of (number, reason, line); strict JSON, which has no NaN."""
    decoder = msgspec.json.Decoder(dict)
    opener = gzip.open if source.path.name.endswith(".gz") else open
    good: list[tuple[int, str]] = []
    bad: list[tuple[int, str, str]] = []
    with opener(source.path, "rb") as file:
        for number, raw in enumerate(file, 1):
            line = raw.strip().removeprefix(b"\xef\xbb\xbf")
            if not line:
                continue
            try:
                decoder.decode(line)
                good.append((number, line.decode()))
            except (msgspec.DecodeError, UnicodeDecodeError):
                bad.append((number, "unreadable: not a JSON object", line.decode(errors="replace")))
            if len(good) + len(bad) >= BATCH:
                yield _tables(good, bad)
                good, bad = [], []
    yield _tables(good, bad)


def _tables(good: list[tuple[int, str]], bad: list[tuple[int, str, str]]) -> tuple[pa.Table, pa.Table]:
    lines = pa.table({"row": [row for row, _ in good], "text": [text for _, text in good]})
    names = ("row", "reason", "text")
    return lines, pa.table({name: [row[at] for row in bad] for at, name in enumerate(names)})
