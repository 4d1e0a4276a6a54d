"""A partition's own part of the candidates' states, as it stands in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from features.aggregates.engine import Candidates
from features.aggregates.rows import LAYOUTS, Row, pack, unpack

if TYPE_CHECKING:
    from redis import Redis


class StoredRow(msgspec.Struct, frozen=True, array_like=True):
    """A candidate's row of one partition as it stands in Redis."""

    text: str
    applied: int
    numbers: list[float]
    ids: list[int]


def store_row(row: Row) -> bytes:
    numbers, ids = pack(row)
    return msgspec.msgpack.encode(StoredRow(row.text, row.applied, numbers, ids))


_stored = msgspec.msgpack.Decoder(StoredRow)


def load_row(view: str, payload: bytes) -> Row:
    stored = _stored.decode(payload)
    return unpack(LAYOUTS[view], stored.text, stored.applied, stored.numbers, stored.ids)


def candidates_key(partition: int) -> str:
    """Hash of the partition's candidate rows: `<view version>:<digest>` -> StoredRow, and `applied`."""
    return f"kairos:{{{partition}}}:candidates"


def changed_key(partition: int) -> str:
    """Sorted set of the same fields by the arrival that changed them last."""
    return f"kairos:{{{partition}}}:changed"


def row_field(view: str, key: int) -> str:
    return f"{view}_{LAYOUTS[view].version}:{key}"


def parse_field(field: bytes) -> tuple[str, int] | None:
    """(view, digest) of a hash field; None for fields of other declarations."""
    name, _, key = field.decode().partition(":")
    view, _, version = name.rpartition("_")
    layout = LAYOUTS.get(view)
    return None if layout is None or layout.version != version else (view, int(key))


def load_candidates(redis: Redis, partition: int) -> Candidates:
    candidates = Candidates()
    fields: dict[bytes, bytes] = redis.hgetall(candidates_key(partition))  # type: ignore[assignment]  # as above
    for field, payload in fields.items():
        if (parsed := parse_field(field)) is not None:
            view, key = parsed
            getattr(candidates, view)[key] = load_row(view, payload)
    return candidates
