"""The file of what was rejected: one JSON object a row, with its file, its number, the reason and its content."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from features.imports.expressions import Resolved
from features.imports.reading import OWN
from features.imports.screening import as_json
from features.imports.sources import columns_of, quote, quote_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

    from features.imports.sources import Source

BATCH = 20_000


def write(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], folder: Path) -> Path | None:
    """Write what `rejected` and `unreadable` hold, named by its content; None if that is nothing."""
    columns = [
        f"{quote_text(name)}: {as_json(Resolved(quote(name), kind))}"
        for name, kind in columns_of(connection, "lines").items()
        if name not in OWN
    ]
    names = " ".join(f"WHEN {number} THEN {quote_text(source.path.name)}" for number, source in enumerate(sources))
    where = f"""'file': CASE "#file" {names} END, 'row': "#row", 'reason': reason"""
    reader: Any = connection.sql(
        f"""
        SELECT record::VARCHAR AS record FROM (
            SELECT "#file", "#row", to_json({{{where}, 'values': {{{", ".join(columns)}}}}}) AS record
            FROM rejected JOIN lines USING ("#file", "#row")
            UNION ALL SELECT "#file", "#row", to_json({{{where}, 'text': "text"}}) FROM unreadable
        ) ORDER BY "#file", "#row"
        """  # noqa: S608  # names, quoted
    ).to_arrow_reader(BATCH)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"writing.{os.getpid()}.tmp"
    digest = hashlib.blake2b(digest_size=8)
    with temporary.open("wb") as file:
        for batch in reader:
            text = "".join(f"{record}\n" for record in batch["record"].to_pylist()).encode()
            digest.update(text)
            file.write(text)
    if not temporary.stat().st_size:
        temporary.unlink()
        return None
    return temporary.replace(folder / f"{digest.hexdigest()}.jsonl")


def count(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Reason -> rows, the most frequent first."""
    rows = connection.execute(
        """
        SELECT reason, count(*) FROM (SELECT reason FROM rejected UNION ALL SELECT reason FROM unreadable)
        GROUP BY ALL ORDER BY 2 DESC, 1
        """
    ).fetchall()
    return dict(rows)
