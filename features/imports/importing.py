"""An import from files to archive and catalog, all of it or nothing; the replay that follows is the caller's."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from features import archive, catalog_document
from features.events.schema import CatalogPublished, decode
from features.imports import building, expressions, fresh, items, mapping, reading, rejects, screening, sources
from features.occupancy import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import duckdb

    from features.home import Home

BESIDE = "catalog.imported.yaml"
"""Where the imported catalog goes when the catalog is the user's own."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did; `events`, `customers` and `candidates` are those of the accepted rows."""

    rows: int
    accepted: int
    repeated: int
    """Accepted rows that an earlier one of the files has too: they count once."""
    rejected: dict[str, int]
    """Reason -> rows."""
    rejected_file: Path | None
    events: int
    """New in the archive."""
    known: int
    """In the archive already."""
    customers: int
    candidates: int
    shift: int
    """Microseconds added to all times."""
    catalog: Path | None
    published: bool
    """Whether attributes of candidates are new in the archive."""

    @property
    def is_new(self) -> bool:
        return bool(self.events) or self.published


def import_files(
    home: Home,
    paths: Sequence[Path],
    mapping_path: Path,
    now: int,
    shift: bool = False,
    progress: Callable[[str, int, int | None], None] = lambda _step, _done, _all: None,
) -> Summary:
    """Import files by a mapping, as of `now` (microseconds); `shift` as `shift_to: now` in the mapping.

    `progress` is told (step, rows or events done, in all if known). Raises DocumentError for the mapping, SourceError
    for the files, UnavailableError while another import into the home runs.
    """
    document, wanted = mapping.read(mapping_path)
    if shift:
        wanted = wanted.model_copy(update={"shift_to": "now"})
    found = sources.find(paths, wanted.format)
    with (
        _alone(home),
        tempfile.TemporaryDirectory(prefix="kairos-import-") as spill,
        contextlib.closing(sources.connect(found, wanted.time_zone, Path(spill))) as connection,
    ):
        reading.read(connection, found, wanted, lambda rows: progress("reading", rows, None))
        resolved = expressions.resolve(connection, document, wanted)
        screening.screen(connection, wanted, resolved, len(found), now)
        building.build(connection, wanted)
        archived = archive.read(home.archive, ["partition", "message_id", "customer", "arrival", "time"])
        chosen = fresh.choose(connection, wanted, archived, now, lambda done, of: progress("building", done, of))
        file = rejects.write(connection, found, home.rejected)
        publication, catalog = _publish(home, connection, wanted)
        _archive(home, chosen.events, publication)
        return _summarise(connection, chosen, file, catalog, publication is not None)


def _summarise(
    connection: duckdb.DuckDBPyConnection, chosen: fresh.Fresh, file: Path | None, catalog: _Catalog, published: bool
) -> Summary:
    rejected = rejects.count(connection)
    (rows, accepted, customers) = connection.execute(
        """
        SELECT (SELECT count(*) FROM lines) + (SELECT count(*) FROM unreadable), (SELECT count(*) FROM accepted),
            (SELECT count(DISTINCT customer) FROM events)
        """
    ).fetchall()[0]
    kept = rows - sum(rejected.values())
    return Summary(
        rows=rows,
        accepted=kept,
        repeated=kept - accepted,
        rejected=rejected,
        rejected_file=file,
        events=len(chosen.events),
        known=chosen.known,
        customers=customers,
        candidates=catalog.candidates,
        shift=chosen.shift,
        catalog=catalog.path,
        published=published,
    )


class _Catalog(msgspec.Struct, frozen=True):
    candidates: int = 0
    path: Path | None = None


def _publish(
    home: Home, connection: duckdb.DuckDBPyConnection, wanted: mapping.Mapping
) -> tuple[CatalogPublished | None, _Catalog]:
    """Write the catalog, and give the event that tells of it; None where nothing has changed since the last import."""
    if wanted.candidates is None or not (found := items.collect(connection, wanted.candidates)):
        return None, _Catalog()
    earlier = _published(home)
    candidates = items.merge(earlier[-1].candidates if earlier else [], found)
    event = items.publish(candidates, len(earlier) + 1)
    text = items.write_document(candidates, wanted.candidates, wanted.time_zone)
    catalog = _Catalog(len(found), catalog_document.write(home, text, BESIDE))
    return (None if earlier and earlier[-1].version == event.version else event), catalog


def _published(home: Home) -> list[CatalogPublished]:
    """The catalogs of earlier imports, in order."""
    table = archive.read(home.archive, ["partition", "payload"], types=["catalog"])
    payloads = table.filter(pc.equal(table["partition"], archive.IMPORTED))["payload"].to_pylist()
    return [event for payload in payloads if isinstance(event := decode(payload), CatalogPublished)]


def _archive(home: Home, events: pa.Table, publication: CatalogPublished | None) -> None:
    """One file with all that is new, so that an import which is killed has happened or has not."""
    if publication is not None:
        row = archive.tabulate(archive.IMPORTED, [archive.entry(publication.received, publication)])
        events = pa.concat_tables([row, events])
    digest = hashlib.blake2b(digest_size=8)
    for message_id in events["message_id"].to_pylist():
        digest.update(message_id.encode())
    archive.write(home.archive, f"import-{digest.hexdigest()}", events)


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Two imports at once would not see each other's events, and both add those they share."""
    home.events.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home.events.parent / "import.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(f"another import into {home.root} is running: wait until it has ended") from error
        yield
    finally:
        os.close(descriptor)
