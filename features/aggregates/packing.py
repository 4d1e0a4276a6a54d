"""All rows of a layout from all events at once, packed: what `rows.pack` gives of each, one behind another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from features.aggregates.declared import ANY, Aggregate
from features.aggregates.folding import fold, fold_keyed
from features.aggregates.keyed import KeyedKind
from features.aggregates.kinds import Last
from features.aggregates.runs import Runs
from features.aggregates.stepping import Folded, Named
from features.ids import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.aggregates.aging import Floats
    from features.aggregates.rows import Layout
    from features.aggregates.runs import Ints


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """Events of `size` entities: by entity, then in the order in which they count."""

    size: int
    entity: Ints
    rank: Ints
    times: Floats
    """Event i was at times[rank[i]], in seconds."""
    name: Ints
    names: list[str]
    revenue: Floats
    item: Ints
    """Of each item, by event: the place of its event."""
    candidate: Ints
    category: Ints
    """Of each item, as digests."""


class PackedRows(msgspec.Struct, frozen=True):
    """Row i has numbers[number_starts[i] : number_starts[i + 1]] and the ids likewise."""

    numbers: Floats
    number_starts: Ints
    ids: Ints
    id_starts: Ints

    def row(self, at: int) -> tuple[Floats, Ints]:
        numbers = self.numbers[self.number_starts[at] : self.number_starts[at + 1]]
        return numbers, self.ids[self.id_starts[at] : self.id_starts[at + 1]]

    def take(self, places: Ints) -> PackedRows:
        """Some of the rows."""
        numbers, number_starts = _gather(self.numbers, self.number_starts, places)
        ids, id_starts = _gather(self.ids, self.id_starts, places)
        return PackedRows(numbers, number_starts, ids, id_starts)


def _gather(values: Any, starts: Ints, places: Ints) -> tuple[Any, Ints]:
    lengths = np.diff(starts)[places]
    begins = _starts(lengths)
    return values[np.repeat(starts[places] - begins[:-1], lengths) + np.arange(begins[-1])], begins


def pack_rows(layout: Layout, happened: Happened) -> PackedRows:
    """The states of every entity behind all of its events."""
    selection = Selection(happened)
    return _assemble([_state(aggregate, selection) for aggregate in layout.aggregates], happened.size)


def _state(aggregate: Aggregate, selection: Selection) -> Floats | Folded:
    kind, events = aggregate.kind, aggregate.events
    if not isinstance(kind, KeyedKind):
        remembered = aggregate.value if isinstance(kind, Last) else None
        return fold(kind, [selection.runs(group, aggregate.value, remembered) for group in events])
    runs = selection.runs(events[0], aggregate.value, None)
    if aggregate.key is None:
        every = np.arange(len(runs.entity))
        return fold_keyed(kind, Named(runs, every, np.zeros(len(every), np.int64)))
    return fold_keyed(kind, Named(runs, *selection.keys(events[0], aggregate.key)))


class Selection:
    """The events of each group that aggregates declare, made once."""

    def __init__(self, happened: Happened) -> None:
        self._happened = happened
        self._runs: dict[Any, Runs] = {}
        self._items: dict[Any, tuple[Ints, Ints]] = {}

    def _mask(self, group: Sequence[str]) -> Any:
        taken = np.array([ANY in group or name in group for name in self._happened.names], bool)
        return taken[self._happened.name]

    def runs(self, group: Sequence[str], value: str, remembered: str | None) -> Runs:
        """The events with their amounts; of those that name something to remember, where that is asked for."""
        asked = (group, value, remembered)
        if (known := self._runs.get(asked)) is None:
            known = self._runs[asked] = self._select(self._mask(group), value, remembered)
        return known

    def _select(self, mask: Any, value: str, remembered: str | None) -> Runs:
        happened = self._happened
        if remembered is not None:
            last = self._last_item(remembered)
            mask = mask & (last >= 0)
        at = np.flatnonzero(mask)
        if remembered is not None:
            digests = happened.candidate if remembered == "candidate" else happened.category
            amount = digests[last[at]].astype(np.float64)
        elif value == "revenue":
            amount = happened.revenue[at]
        elif value == "items":
            amount = np.bincount(happened.item, minlength=len(happened.entity))[at].astype(np.float64)
        else:
            amount = np.ones(len(at))
        return Runs(happened.entity[at], happened.rank[at], happened.times, amount, happened.size)

    def places(self, group: Sequence[str], remembered: str) -> Ints:
        """Which events `runs` gives that remember something."""
        return np.flatnonzero(self._mask(group) & (self._last_item(remembered) >= 0))

    def _last_item(self, remembered: str) -> Ints:
        """Of each event the place of its last item that has one; -1 for none."""
        last = np.full(len(self._happened.entity), -1)
        places = np.arange(len(self._happened.item))
        if remembered == "category":
            places = places[self._happened.category != NOTHING]
        last[self._happened.item[places]] = places  # the last of equal indices stays
        return last

    def keys(self, group: Sequence[str], key: str) -> tuple[Ints, Ints]:
        """(place of its event among those of `runs`, key) of all that these events name."""
        asked = (group, key)
        if (known := self._items.get(asked)) is None:
            happened, mask = self._happened, self._mask(group)
            digests = happened.candidate if key == "candidate" else happened.category
            named = mask[happened.item] & (digests != NOTHING)
            places = np.cumsum(mask) - 1
            known = self._items[asked] = (places[happened.item[named]], digests[named])
        return known


def _assemble(states: list[Floats | Folded], size: int) -> PackedRows:
    heads = [state.head if isinstance(state, Folded) else state for state in states]
    head = np.concatenate(heads, axis=1)
    tables = [state for state in states if isinstance(state, Folded)]
    counts = np.zeros((len(tables), size), np.int64)
    for at, table in enumerate(tables):
        counts[at] = np.bincount(table.entity, minlength=size)
    widths = np.array([table.rows.shape[1] for table in tables], np.int64)[:, None]
    floats = counts * widths
    number_starts = _starts(head.shape[1] + floats.sum(0))
    id_starts = _starts(len(tables) + counts.sum(0))
    numbers, ids = np.empty(number_starts[-1]), np.empty(id_starts[-1], np.int64)
    numbers[number_starts[:-1, None] + np.arange(head.shape[1])] = head
    ids[id_starts[:-1, None] + np.arange(len(tables))] = counts.T
    row_at = number_starts[:-1] + head.shape[1] + np.cumsum(floats, 0) - floats
    key_at = id_starts[:-1] + len(tables) + np.cumsum(counts, 0) - counts
    for at, table in enumerate(tables):
        who, count = table.entity, counts[at]
        place = np.arange(len(who)) - (np.cumsum(count) - count)[who]
        ids[key_at[at][who] + place] = table.key
        for column in range(table.rows.shape[1]):
            numbers[row_at[at][who] + column * count[who] + place] = table.rows[:, column]
    return PackedRows(numbers, number_starts, ids, id_starts)


def _starts(lengths: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
