"""One entity's states in memory, and their packed form: a list of floats and a list of ids (DESIGN: typed lists).

Packed, the floats begin with every aggregate's own ones, in the order of the declarations; then come the keyed ones'
columns, a run each. The ids begin with the number of keys of each keyed aggregate; then come their keys, ascending.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from features.aggregates.declared import VIEWS, Aggregate
from features.aggregates.keyed import KeyedKind, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

State = list[float] | Table

PACKING = 2
"""Number of the way in which `pack` lays out states: it changes every layout's version."""


class Row(msgspec.Struct):
    """The live states of one entity."""

    text: str
    """The entity's id."""
    applied: int
    """Arrival of the last event in it, in microseconds; 0 for none."""
    states: list[State]
    owner: str = ""
    """The id that this one was joined to; its row is empty then. Of customers only, as what follows."""
    linked: int = 0
    """Arrival of the event that joined them."""
    assignment: str = ""
    """The id under which the customer was seen first, where that is another than the row's, and when."""
    assigned: int = 0
    consent: dict[str, tuple[int, bool]] = {}
    """Purpose -> when the customer spoke of it last (microseconds), and whether it is allowed."""
    traits: dict[str, tuple[int, Any]] = {}
    """Of `features.traits`."""


class Layout(msgspec.Struct, frozen=True):
    """How a view's aggregates stand in the packed lists."""

    view: str
    aggregates: tuple[Aggregate, ...]
    version: str
    """Digest of the declarations: part of the stored fields' names, so that stale states are never misread."""
    shape: tuple[tuple[int, int | None], ...]
    """For each aggregate its own floats, and the columns of a keyed one."""

    def __hash__(self) -> int:
        return hash(self.version)  # all declarations would be many a lookup of the plan

    @property
    def numbers(self) -> str:
        return f"numbers_{self.version}"

    @property
    def ids(self) -> str:
        return f"ids_{self.version}"


def lay_out(view: str, aggregates: tuple[Aggregate, ...]) -> Layout:
    described = repr((PACKING, [(a.name, a.events, a.kind, a.value, a.key) for a in aggregates]))
    kinds = [aggregate.kind for aggregate in aggregates]
    shape = tuple((kind.slots, kind.columns if isinstance(kind, KeyedKind) else None) for kind in kinds)
    return Layout(view, aggregates, hashlib.blake2b(described.encode(), digest_size=4).hexdigest(), shape)


LAYOUTS: dict[str, Layout] = {view: lay_out(view, aggregates) for view, aggregates in VIEWS.items()}


def blank(layout: Layout, text: str) -> Row:
    """The row of an entity without events."""
    return Row(text, 0, [aggregate.kind.empty() for aggregate in layout.aggregates])


def pack(row: Row) -> tuple[list[float], list[int]]:
    """The row's packed lists (numbers, ids)."""
    numbers: list[float] = []
    counts: list[int] = []
    ids: list[int] = []
    columns: list[float] = []
    for state in row.states:
        if isinstance(state, list):
            numbers += state
            continue
        numbers += state.head
        counts.append(len(state.rows))
        if not state.rows:
            continue
        keys, values = state.pack()
        ids += keys
        columns += values
    return numbers + columns, counts + ids


def unpack(layout: Layout, text: str, applied: int, numbers: Sequence[float], ids: Sequence[int]) -> Row:
    """The row of packed lists. Raises ValueError if they do not follow the layout."""
    tables = sum(columns is not None for _, columns in layout.shape)
    head, at, key_at = 0, sum(slots for slots, _ in layout.shape), tables
    counts = iter(ids[:tables])
    states: list[State] = []
    try:
        for slots, width in layout.shape:
            own = list(numbers[head : head + slots])
            head += slots
            if width is None:
                states.append(own)
            elif count := next(counts):
                keys = ids[key_at : key_at + count]
                columns = [numbers[start : start + count] for start in range(at, at + width * count, count)]
                key_at += count
                at += width * count
                states.append(Table(own, dict(zip(keys, map(list, zip(*columns, strict=True)), strict=True))))
            else:
                states.append(Table(own, {}))
    except (StopIteration, ValueError) as error:
        raise ValueError(f"{layout.view} of {text!r}: packed lists are too short for the layout") from error
    if at != len(numbers) or key_at != len(ids):
        raise ValueError(f"{layout.view} of {text!r}: packed lists do not end where the layout does")
    return Row(text, applied, states)


def unpack_flat(layout: Layout, text: str, applied: int, numbers: list[float]) -> Row:
    """As `unpack`, of a layout without tables."""
    states: list[State] = []
    at = 0
    for slots, _ in layout.shape:
        states.append(numbers[at : at + slots])
        at += slots
    return Row(text, applied, states)


def merge(layout: Layout, a: Row, b: Row) -> Row:
    """The row that would have come of both rows' events; commutes but for the text, which is `a`'s."""
    states = [
        aggregate.kind.merge(mine, theirs)  # type: ignore[arg-type]  # a state is of its aggregate's kind
        for aggregate, mine, theirs in zip(layout.aggregates, a.states, b.states, strict=True)
    ]
    return Row(a.text, max(a.applied, b.applied), states)
