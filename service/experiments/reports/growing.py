"""The table of units between reports: a DuckDB file that each report brings up to the archive, reading what is new.

Hashes of ids and sums only. Erasing anybody makes the next report start from the archive again.
"""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import archive
from features.archive.naming import parse
from features.archive.places import at
from features.archive.reading import erasures, load_file
from features.archive.tables import IMPORTED
from features.ids import digest
from service.experiments.reports import folding
from service.experiments.reports.extraction import COLUMNS, extract, types
from service.experiments.reports.trials import Past

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from duckdb import DuckDBPyConnection as Connection

    from features.archive.naming import File
    from features.home import Home
    from service.experiments.reports.trials import Trial


BYTES = 128 << 20
"""Of events, as they are in memory, that are read at a time."""


@contextlib.contextmanager
def grown(home: Home, trial: Trial, tell: Callable[[int], None] = lambda _: None) -> Iterator[Connection]:
    """The state of an experiment as of the archive now; one process at a time. `tell` hears how many events were read.

    Raises archive.ArchiveError when the archive cannot be read.
    """
    folder, name = home.root / "experiments", f"{digest(trial.id):x}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{trial.fingerprint}.duckdb"
    with _alone(folder / name), contextlib.closing(_open(path, erasures(at(home.archive)))) as state:
        for other in folder.glob(f"{name}-*.duckdb"):
            if other != path:
                _remove(other)  # it was analysed otherwise then
        past = Past(home, trial)
        for marks, table in _fresh(home, trial, state):
            tell(len(table))
            with folding.whole(state):
                folding.fold(state, trial, extract(table, trial, past))
                marks.keep(state)
        yield state


def forget(home: Home) -> None:
    """Remove what all experiments have kept, as when a customer is erased."""
    for path in (home.root / "experiments").glob("*.duckdb"):
        with _alone(path.with_name(path.name.partition("-")[0])):
            _remove(path)


class Marks:
    """How far the archive has been read."""

    def __init__(self, arrivals: dict[int, int], path: str | None = None) -> None:
        self._arrivals, self._path = arrivals, path

    def keep(self, state: Connection) -> None:
        for partition, arrival in self._arrivals.items():
            state.execute("delete from cursor where partition = ?", [partition])
            state.execute("insert into cursor values (?, ?)", [partition, arrival])
        if self._path is not None:
            state.execute("insert into read values (?)", [self._path])


def _fresh(home: Home, trial: Trial, state: Connection) -> Iterator[tuple[Marks, pa.Table]]:
    """What was not read yet: new imports, then what arrived, some at a time, so that memory does not grow with the
    archive. Each table is to be folded before the next.
    """
    listed = archive.files(home.archive)
    known = {path for (path,) in state.execute("select path from read").fetchall()}
    for file in listed:
        span = parse(file)
        if (span is None or span.partition is None) and file.path not in known:
            yield Marks({}, file.path), _chosen(load_file(at(home.archive), file, COLUMNS), trial)
    cursor = dict(state.execute("select partition, arrival from cursor").fetchall())
    first, ends = _ahead(listed, cursor)
    last = max(ends.values(), default=0)
    for until in archive.cut(home.archive, first, last, BYTES) if ends else ():
        table = archive.read(home.archive, COLUMNS, types(trial), since=first, until=until)
        yield (
            Marks({partition: min(end, until) for partition, end in ends.items() if cursor.get(partition, 0) < until}),
            _unread(table, cursor),
        )
        first = until + 1


def _ahead(listed: list[File], cursor: dict[int, int]) -> tuple[int, dict[int, int]]:
    """(the first arrival that may not have been read, partition -> its last)."""
    firsts: list[int] = []
    ends: dict[int, int] = {}
    for file in listed:
        span = parse(file)
        if span is None or span.partition is None or span.last <= cursor.get(span.partition, -1):
            continue
        firsts.append(max(span.first, cursor.get(span.partition, -1) + 1))
        ends[span.partition] = max(span.last, ends.get(span.partition, span.last))
    return min(firsts, default=1), ends


def _chosen(table: pa.Table, trial: Trial) -> pa.Table:
    return table.filter(pc.is_in(table["type"], pa.array(types(trial), pa.string())))


def _unread(table: pa.Table, cursor: dict[int, int]) -> pa.Table:
    partition, arrival = (table[name].to_numpy() for name in ("partition", "arrival"))
    fresh = partition != IMPORTED
    for number, until in cursor.items():
        fresh &= (partition != number) | (arrival > until)
    return table if fresh.all() else table.filter(pa.array(np.asarray(fresh)))


def _open(path: Path, erased: int) -> Connection:
    import duckdb

    with contextlib.suppress(duckdb.Error):  # written by another version, or cut short: it is made again
        state = duckdb.connect(str(path))
        if folding.is_whole(state, erased):
            return state
        state.close()
    _remove(path)
    state = duckdb.connect(str(path))
    folding.create(state, erased)
    return state


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
