"""All states behind a replay, in one file of the home: the next replay goes on from there, with what came since.

Of no use, and passed over, under other declarations, with other imports, or once somebody was erased.
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features import archive, history
from features.aggregates.engine import Candidates
from features.aggregates.packing import PackedRows
from features.aggregates.rows import LAYOUTS, Row, blank, pack, unpack
from features.events.schema import decode
from features.finals import Alone, Final

if TYPE_CHECKING:
    from features.home import Home

FILE = "checkpoint"
FEW = 10
"""So many times more events than those to go on with make it worthwhile: those go one by one."""
ARRAYS = ("numbers", "number_starts", "ids", "id_starts")


class Kept(msgspec.Struct, array_like=True):
    """A row with all that is known of its id."""

    text: str
    applied: int
    numbers: list[float]
    ids: list[int]
    owner: str = ""
    linked: int = 0
    assignment: str = ""
    assigned: int = 0
    consent: dict[str, tuple[int, bool]] = {}
    traits: dict[str, tuple[int, Any]] = {}


class Checkpoint(msgspec.Struct, kw_only=True):
    version: str
    cursors: dict[int, int]
    events: int
    texts: list[str]
    applied: bytes
    packed: dict[str, bytes]
    consents: dict[str, dict[str, tuple[int, bool]]]
    traits: dict[str, dict[str, tuple[int, Any]]]
    rows: list[Kept]
    moved: list[tuple[str, int, Kept]]
    candidates: dict[int, dict[str, list[tuple[int, Kept]]]]


def _keep(row: Row) -> Kept:
    numbers, ids = pack(row)
    said = row.owner, row.linked, row.assignment, row.assigned, row.consent, row.traits
    return Kept(row.text, row.applied, numbers, ids, *said)


def _open(view: str, kept: Kept) -> Row:
    row = unpack(LAYOUTS[view], kept.text, kept.applied, kept.numbers, kept.ids)
    row.owner, row.linked, row.consent, row.traits = kept.owner, kept.linked, kept.consent, kept.traits
    row.assignment, row.assigned = kept.assignment, kept.assigned
    return row


def write(home: Home, version: str, final: Final) -> None:
    """Keep what a replay has made; `version` says of what."""
    alone = final.alone
    checkpoint = Checkpoint(
        version=version,
        cursors=final.cursors,
        events=final.events,
        texts=alone.texts,
        applied=alone.applied.astype("<i8").tobytes(),
        packed={name: getattr(alone.packed, name).tobytes() for name in ARRAYS},
        consents=alone.consents,
        traits=alone.traits,
        rows=[_keep(row) for row in final.rows.values()],
        moved=[(text, at, _keep(row)) for (text, at), row in final.moved.items()],
        candidates={
            number: {
                view: [(key, _keep(row)) for key, row in getattr(part, view).items()]
                for view in ("candidate", "successors")
            }
            for number, part in final.candidates.result().items()
        },
    )
    path = home.root / FILE
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(msgspec.msgpack.encode(checkpoint))
    temporary.rename(path)


def forget(home: Home) -> None:
    (home.root / FILE).unlink(missing_ok=True)


def read(home: Home, version: str) -> Final | None:
    """What was kept, brought up to the archive; None if there is nothing of use, or a replay of all is as fast."""
    try:
        checkpoint = msgspec.msgpack.decode((home.root / FILE).read_bytes(), type=Checkpoint)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    if checkpoint.version != version:
        return None
    table = archive.read(
        home.archive, ["arrival", "partition", "payload"], since=min(checkpoint.cursors.values(), default=0) + 1
    )
    columns = (table[name].to_pylist() for name in table.column_names)
    fresh = [row for row in zip(*columns, strict=True) if row[0] > checkpoint.cursors.get(row[1], 0)]
    if len(fresh) * FEW > checkpoint.events:
        return None
    return _go_on(checkpoint, fresh)


def _go_on(checkpoint: Checkpoint, fresh: list[tuple[int, int, bytes]]) -> Final:
    types = dict(zip(ARRAYS, ("<f8", "<i8", "<i8", "<i8"), strict=True))
    packed = PackedRows(**{name: np.frombuffer(checkpoint.packed[name], types[name]) for name in ARRAYS})
    applied = np.frombuffer(checkpoint.applied, "<i8")
    places = {text: at for at, text in enumerate(checkpoint.texts)}
    state = history.Rebuilt(
        customers={kept.text: _open("customer", kept) for kept in checkpoint.rows},
        moved={(text, at): _open("customer", kept) for text, at, kept in checkpoint.moved},
        candidates={
            number: Candidates(**{view: {key: _open(view, kept) for key, kept in rows} for view, rows in part.items()})
            for number, part in checkpoint.candidates.items()
        },
        cursors=checkpoint.cursors,
    )
    for arrival, partition, payload in fresh:
        event = decode(payload)
        at, told = places.pop(event.customer, None), checkpoint.traits.pop(event.customer, {})
        if at is not None or told:
            row = blank(LAYOUTS["customer"], event.customer)
            if at is not None:
                numbers, ids = packed.row(at)
                row = unpack(LAYOUTS["customer"], event.customer, int(applied[at]), numbers.tolist(), ids.tolist())
            row.consent, row.traits = checkpoint.consents.pop(event.customer, {}), told
            state.customers[event.customer] = row
        state.candidates.setdefault(partition, Candidates())
        history.advance(partition, arrival, event, None, state)
        state.cursors[partition] = arrival
    left = np.array(list(places.values()), np.int64)
    candidates: Future[dict[int, Candidates]] = Future()
    candidates.set_result(state.candidates)
    return Final(
        alone=Alone(
            texts=list(places),
            applied=applied[left],
            packed=packed.take(left),
            consents=checkpoint.consents,
            traits=checkpoint.traits,
        ),
        rows=state.customers,
        moved=state.moved,
        candidates=candidates,
        cursors=state.cursors,
        events=checkpoint.events + len(fresh),
    )
