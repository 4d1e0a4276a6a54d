"""The historical store from the archive: every state of every entity by arrival, as Feast's offline store joins it.

The same engine as the live worker's, in the same order within each partition, so that history equals what was served.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from functools import partial, reduce
from typing import TYPE_CHECKING

import msgspec

from features import archive, identity
from features.aggregates.engine import Candidates, advance_candidates, advance_customer
from features.aggregates.rows import LAYOUTS, Layout, Row, blank, merge
from features.events.occurrences import read
from features.events.schema import ConsentGiven, Event, Joined, SnapshotTaken, decode
from features.historical import IDENTITY_COLUMNS, Identified, Table, write_attributes, write_identities
from features.ids import fingerprint
from features.traits import is_telling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from features.home import Home

SECOND = 1_000_000
CONTENTS = "contents"


class Rebuilt(msgspec.Struct):
    """All final states, by partition of the archive."""

    customers: dict[str, Row] = {}
    moved: dict[tuple[str, int], Row] = {}
    """What ids handed over, by id and arrival of the link, until it is taken over."""
    identities: list[Identified] = []
    candidates: dict[int, Candidates] = {}
    cursors: dict[int, int] = {}
    events: int = 0
    rows: int = 0


def digest(home: Home) -> str:
    """What the historical store is a function of: the archive's files, the declarations, and what is told of ids."""
    parts = [archive.version(home.archive)]
    parts += [layout.version for layout in LAYOUTS.values()]
    parts += IDENTITY_COLUMNS
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def is_current(home: Home) -> bool:
    """Whether the historical store holds all of the archive, and no file of it was lost or cut since."""
    stamp, contents = home.history / "digest", home.history / CONTENTS
    whole = contents.exists() and contents.read_text() == _list(home.history)
    return whole and stamp.exists() and stamp.read_text() == digest(home)


def _list(folder: Path) -> str:
    """The files of rows with their sizes."""
    return "".join(f"{path.relative_to(folder)} {path.stat().st_size}\n" for path in sorted(folder.rglob("*.parquet")))


def rebuild(home: Home, progress: Callable[[int, int], None] = lambda _done, _all: None) -> Rebuilt:
    """Rebuild the historical store from the archive, beside the old one, and put it in its place.

    `progress` is told (events done, events in all).
    """
    with replacing(home) as fresh:
        tables = {view: Table(fresh / view, layout) for view, layout in LAYOUTS.items()}
        events = _read_events(home)
        rebuilt = Rebuilt(events=sum(len(part) for part in events.values()))
        _replay(events, tables, rebuilt, progress)
        for table in tables.values():
            table.flush()
            rebuilt.rows += table.rows
        write_attributes(fresh / "attributes", events)
        write_identities(fresh / "identity", rebuilt.identities)
    return rebuilt


@contextlib.contextmanager
def replacing(home: Home) -> Iterator[Path]:
    """An empty folder for a historical store, which takes the old one's place when it is full."""
    version = digest(home)
    fresh = home.history.with_name("history.new")
    shutil.rmtree(fresh, ignore_errors=True)
    yield fresh
    (fresh / CONTENTS).write_text(_list(fresh))
    (fresh / "digest").write_text(version)
    old = home.history.with_name("history.old")
    shutil.rmtree(old, ignore_errors=True)
    if home.history.exists():
        home.history.rename(old)
    fresh.rename(home.history)
    shutil.rmtree(old, ignore_errors=True)


def replay(home: Home, erased: dict[int, int], progress: Callable[[int, int], None]) -> Rebuilt:
    """The final states alone. `erased`: fingerprint -> arrival up to which a customer's events do not count."""
    events = _read_events(home)
    if erased:
        events = {
            number: [(at, event) for at, event in part if at > erased.get(fingerprint(event.customer), -1)]
            for number, part in events.items()
        }
    rebuilt = Rebuilt(events=sum(len(part) for part in events.values()))
    _replay(events, {}, rebuilt, progress)
    return rebuilt


def _read_events(home: Home) -> dict[int, list[tuple[int, Event]]]:
    table = archive.read(home.archive, ["arrival", "partition", "payload"])
    events: dict[int, list[tuple[int, Event]]] = {}
    columns = (table[name].to_pylist() for name in ("arrival", "partition", "payload"))
    for arrival, partition, payload in zip(*columns, strict=True):
        events.setdefault(partition, []).append((arrival, decode(payload)))
    return events


def _markers(events: dict[int, list[tuple[int, Event]]]) -> list[tuple[int, dict[int, int]]]:
    """(time, cursors) of every snapshot: those that were taken, and one a second of imported history."""
    taken = {
        event.received: {int(partition): cursor for partition, cursor in event.cursors.items()}
        for part in events.values()
        for _, event in part
        if isinstance(event, SnapshotTaken)
    }
    for arrival, _ in events.get(archive.IMPORTED, []):
        taken.setdefault((arrival // SECOND + 1) * SECOND, {})
    return sorted(taken.items())


def _replay(
    events: dict[int, list[tuple[int, Event]]],
    tables: dict[str, Table],
    rebuilt: Rebuilt,
    progress: Callable[[int, int], None],
) -> None:
    at = dict.fromkeys(events, 0)
    rebuilt.candidates = {partition: Candidates() for partition in sorted(events)}
    states = {
        view: [getattr(part, view) for part in rebuilt.candidates.values()] for view in ("candidate", "successors")
    }
    done = 0
    markers = _markers(events)
    # What no snapshot has held yet is in the states, and in a last one: behind every event and every marker.
    end = max([part[-1][0] for part in events.values()] + [time for time, _ in markers[-1:]], default=0) + 1
    for time, cursors in [*markers, (end, dict.fromkeys(events, end))]:
        changed: set[tuple[str, int]] = set()
        for partition, part in events.items():
            until = time if partition == archive.IMPORTED else cursors.get(partition, 0)
            start = at[partition]
            while at[partition] < len(part) and part[at[partition]][0] <= until:
                changed.update(advance(partition, *part[at[partition]], tables.get("customer"), rebuilt))
                at[partition] += 1
            done += at[partition] - start
        for view, partitions in states.items() if tables else ():
            keys = sorted(key for of, key in changed if of == view)
            tables[view].add(merge_rows(LAYOUTS[view], partitions, keys), time)
        progress(done, rebuilt.events)
    rebuilt.cursors = {partition: part[-1][0] for partition, part in events.items()}


def advance(partition: int, arrival: int, event: Event, table: Table | None, rebuilt: Rebuilt) -> list[tuple[str, int]]:
    occurrence, target = read(event), identity.link_of(event)
    tells = is_telling(event)
    identifies = target is not None or isinstance(event, (Joined, ConsentGiven)) or tells
    if not event.customer or not (occurrence or identifies):
        return []
    row = rebuilt.customers.get(event.customer)
    if row is None:
        row = rebuilt.customers[event.customer] = blank(LAYOUTS["customer"], event.customer)
    # Later than the row before, also where imported and live history of a customer overlap.
    stamp = max(arrival, row.applied + 1)
    identified = identity.retell(row, arrival, event if identifies else None, rebuilt.moved)
    changed: list[tuple[str, int]] = []
    if not identifies and occurrence is not None:
        changed = advance_candidates(rebuilt.candidates[partition], row, occurrence, arrival)
        advance_customer(row, occurrence)
    if not tells:
        row.applied = stamp
        if table is not None:
            table.add([row], stamp)
    if identified:
        said, told = msgspec.json.encode(row.consent).decode(), msgspec.json.encode(row.traits).decode()
        rebuilt.identities.append((row.text, stamp, row.owner, said, row.linked, row.assignment, row.assigned, told))
    return changed


def merge_rows(layout: Layout, partitions: list[dict[int, Row]], keys: list[int]) -> list[Row]:
    """The rows of `keys`, each merged over the partitions that have it."""
    if len(partitions) == 1:
        return [partitions[0][key] for key in keys]
    return [reduce(partial(merge, layout), [rows[key] for rows in partitions if key in rows]) for key in keys]
