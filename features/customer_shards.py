"""One shard of customers on their way to the historical store: every state of each, as the engine makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features import identity
from features.aggregates.engine import FOLLOWED, advance_customer
from features.aggregates.rows import LAYOUTS, Row, blank
from features.candidate_shards import Passed
from features.events.occurrences import Item, Occurrence
from features.events.schema import ConsentGiven, Event, Joined
from features.historical import Table
from features.several import uncollected
from features.traits import is_telling

if TYPE_CHECKING:
    from pathlib import Path

    from features.aggregates.aging import Floats
    from features.extraction import Recorded
    from features.historical import Identified

LAYOUT = LAYOUTS["customer"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What some customers did and what was said of them, in the order in which it counts."""

    recorded: Recorded
    times: Floats
    """Of each event, in seconds."""
    spoken: list[tuple[int, int, Event]]
    """(how many events count before it, arrival, event)"""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    identities: list[Identified]
    passed: Passed
    rows: int


class _Teller:
    """The states of the shard's customers."""

    def __init__(self, folder: Path, number: int) -> None:
        self.table = Table(folder, LAYOUT, f"{number:04d}-")
        self.identities: list[Identified] = []
        self._rows: dict[str, Row] = {}
        self._moved: dict[tuple[str, int], Row] = {}

    def row(self, text: str) -> Row:
        found = self._rows.get(text)
        if found is None:
            found = self._rows[text] = blank(LAYOUT, text)
        return found

    def say(self, arrival: int, event: Event) -> None:
        """What joins, allows or tells of the customer; all else is no behaviour either."""
        tells = is_telling(event)
        if event.customer and (tells or identity.link_of(event) or isinstance(event, (Joined, ConsentGiven))):
            self.keep(self.row(event.customer), arrival, event, tells)

    def keep(
        self, row: Row, arrival: int, event: Event | None, tells: bool, occurrence: Occurrence | None = None
    ) -> None:
        """Write the row as it is with the event; as `history.advance` does."""
        stamp = max(arrival, row.applied + 1)
        identified = identity.retell(row, arrival, event, self._moved)
        if occurrence is not None:
            advance_customer(row, occurrence)
        if not tells:
            row.applied = stamp
            self.table.add([row], stamp)
        if identified:
            said, told = msgspec.json.encode(row.consent).decode(), msgspec.json.encode(row.traits).decode()
            self.identities.append((row.text, stamp, row.owner, said, row.linked, row.assignment, row.assigned, told))


def write_customers(folder: Path, number: int, part: Part) -> Told:
    """Write the shard's rows. What was said of ids, and which candidate preceded each event that may follow one."""
    recorded, teller = part.recorded, _Teller(folder, number)
    starts = np.searchsorted(recorded.item, np.arange(len(recorded.arrival) + 1)).tolist()
    columns = (
        recorded.customer.tolist(),
        recorded.arrival.tolist(),
        recorded.name.tolist(),
        part.times.tolist(),
        recorded.revenue.tolist(),
    )
    candidates, categories, texts = recorded.candidate.tolist(), recorded.category.tolist(), recorded.texts
    passed: list[tuple[int, int, int]] = []
    spoken, said = part.spoken, 0
    with uncollected():
        for place, (customer, arrival, code, time, revenue) in enumerate(zip(*columns, strict=True)):
            while said < len(spoken) and spoken[said][0] <= place:
                teller.say(spoken[said][1], spoken[said][2])
                said += 1
            row, name, span = (
                teller.row(recorded.customers[customer]),
                recorded.names[code],
                slice(*starts[place : place + 2]),
            )
            items = tuple(Item(texts[key], key, of) for key, of in zip(candidates[span], categories[span], strict=True))
            # After an event that cuts the row loose, what it holds is what preceded; cutting changes no state.
            for turn, (_, last_at) in enumerate(FOLLOWED.get(name, ())):
                passed.append((place, turn, int(row.states[last_at][0])))  # type: ignore[index]  # of a Last
            teller.keep(row, arrival, None, False, Occurrence(name, time, items, revenue))
        for _, arrival, event in spoken[said:]:
            teller.say(arrival, event)
        teller.table.flush()
    columns_of = np.array(passed, np.int64).reshape(-1, 3)
    return Told(identities=teller.identities, passed=Passed(*columns_of.T.copy()), rows=teller.table.rows)
