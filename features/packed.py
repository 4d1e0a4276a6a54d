"""What stands in the hashes of Feast's online store, opened: rows of the views, and whom an id was joined to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

import features.quiet_feast  # noqa: F401  # before Feast

# isort: split
from feast.protos.feast.types.Value_pb2 import Value

from features.aggregates.rows import LAYOUTS, Layout, Row, blank, merge, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Packed(msgspec.Struct, frozen=True):
    """A row as stored."""

    applied: int
    numbers: NDArray[np.float64]
    ids: NDArray[np.int64]

    def unpack(self, layout: Layout, text: str) -> Row:
        """As live states."""
        return unpack(layout, text, self.applied, self.numbers.tolist(), self.ids.tolist())

    def merged(self, other: Packed) -> Packed:
        """The row of a customer who is both; of rows of the view `customer`."""
        layout = LAYOUTS["customer"]
        row = merge(layout, self.unpack(layout, ""), other.unpack(layout, ""))
        numbers, ids = pack(row)
        return Packed(row.applied, np.array(numbers, np.float64), np.array(ids, np.int64))


class Known(msgspec.Struct, frozen=True):
    """What is stored of one id."""

    row: Packed | None
    owner: str
    """The id that it was joined to, or empty."""
    consent: Mapping[str, tuple[int, bool]] = {}
    """Purpose -> when, in microseconds, and what was said of it last."""
    fresh: Sequence[int] = ()
    """Arrivals of the events in the row that the worker had not come to."""
    assignment: str = ""
    """Under which id the customer was seen first; empty: under this one."""
    assigned: int = 0
    """When that was, in microseconds."""
    traits: Mapping[str, tuple[int, Any]] = {}
    """Of `features.traits`."""


def open_known(values: Sequence[bytes | None]) -> Known:
    """Of a customer's hash: applied, numbers, ids, owner, consent, linked, assignment, assigned, traits, as stored."""
    applied, numbers, ids, owner, said, _, assignment, assigned, told = values
    row = None
    if applied and ids is not None and numbers is not None:
        row = _open(Value.FromString(applied), Value.FromString(numbers), Value.FromString(ids))
    if owner is None or said is None:
        return Known(row, "")
    return Known(
        row,
        Value.FromString(owner).string_val,
        _consent.decode(Value.FromString(said).string_val),
        assignment=Value.FromString(assignment or b"").string_val,
        assigned=Value.FromString(assigned or b"").int64_val,
        traits=_open_traits(told),
    )


def open_live(text: str, values: Sequence[bytes | None]) -> Row:
    """A customer's live states of those fields; a blank row if there are none."""
    layout = LAYOUTS["customer"]
    packed = open_known(values).row
    row = blank(layout, text) if packed is None else packed.unpack(layout, text)
    if values[3] is not None:
        owner, said, linked, assignment, assigned = (Value.FromString(value or b"") for value in values[3:8])
        row.owner, row.linked = owner.string_val, linked.int64_val
        row.consent = _consent.decode(said.string_val)
        row.assignment, row.assigned = assignment.string_val, assigned.int64_val
        row.traits = _open_traits(values[8])
    return row


def open_values(values: Mapping[str, Value] | None, layout: Layout) -> Packed | None:
    """Of what Feast read; None where it found nothing."""
    if values is None or not values["applied"].WhichOneof("val"):
        return None
    if not values[layout.ids].WhichOneof("val"):
        return None  # written under other declarations: as if unknown, until a replay
    return _open(values["applied"], values[layout.numbers], values[layout.ids])


_consent = msgspec.json.Decoder(dict[str, tuple[int, bool]])
_traits = msgspec.json.Decoder(dict[str, tuple[int, Any]])


def _open_traits(stored: bytes | None) -> dict[str, tuple[int, Any]]:
    text = "" if stored is None else Value.FromString(stored).string_val
    return _traits.decode(text) if text else {}


def _open(applied: Value, numbers: Value, ids: Value) -> Packed:
    # numpy reads protobuf's lists at once; an empty one comes without a type.
    return Packed(
        applied.int64_val,
        np.asarray(numbers.double_list_val.val, np.float64),
        np.asarray(ids.int64_list_val.val, np.int64),
    )
