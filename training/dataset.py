"""The training set: states joined as of each query by Feast, then closed by the code that serves, chunk by chunk.

Joined first, exploded after: a customer's row is read once a query, a candidate's once a snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from features.aggregates.columns import MOST_OWNERS, Columns, decode_rows, slot_of
from features.aggregates.declared import TOTAL
from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, Layout, blank, pack, unpack
from features.events.occurrences import read
from features.ids import digest
from features.lifetimes import find_expired
from models.matrix import States, Subjects, close_candidates, compute
from training.labels import SECOND, TrainingError
from training.stored import Stored, read_attribute
from training.supplied import lay_over

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feast import FeatureStore

    from features.events.schema import Event
    from features.home import Home
    from training.labels import Floats, Ints, Packed, Queries

ROWS_A_JOIN = 400_000
MOST_JOINS = 8
"""Each looks through the keys and times of all history: more rows are joined at a time where there are many."""
ROWS_A_CHUNK = 1 << 16
LAST_VIEWED = "customer__product_viewed_candidate__last"
ATTRIBUTES = ("kind", "category", "price", "value")
TIME = pa.timestamp("us", tz="UTC")


class Chunk(msgspec.Struct, frozen=True):
    """Features of some neighbouring rows of the queries."""

    rows: slice
    features: dict[str, Floats]


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """Everything read for some neighbouring queries."""

    customers: Columns
    successors: Stored
    totals: Stored
    candidates: Stored
    pair: Ints
    """Row -> its unique (candidate, snapshot)."""
    attributes: dict[str, Floats]
    """Of each unique (candidate, instant); kinds and categories as digests."""
    attribute_pair: Ints
    """Row -> its unique (candidate, instant)."""


class Source:
    """The historical store as training reads it."""

    def __init__(
        self, home: Home, store: FeatureStore, rows_a_join: int = ROWS_A_JOIN, rows_a_chunk: int = ROWS_A_CHUNK
    ) -> None:
        self._store, self._rows_a_join, self._rows_a_chunk = store, rows_a_join, rows_a_chunk
        seen = pads.dataset(home.history / "candidate", format="parquet").to_table(["candidate"])["candidate"]
        self._texts = {digest(text): text for text in seen.unique().to_pylist()}

    def read(self, queries: Queries) -> Iterator[Chunk]:
        """Chunks of all rows, in order. Raises TrainingError for a query with too many candidates."""
        starts = queries.row_starts
        most = max(self._rows_a_join, -(-len(queries.owner) // MOST_JOINS))
        for first, behind in _spans(starts, most, len(queries)):
            joined = self._join(queries, first, behind, starts)
            for low, high in _spans(starts[first : behind + 1], self._rows_a_chunk, MOST_OWNERS):
                rows = slice(int(starts[first + low]), int(starts[first + high]))
                yield Chunk(rows, _compute(queries, joined, first, first + low, first + high, rows, int(starts[first])))

    def _join(self, queries: Queries, first: int, behind: int, starts: Ints) -> Joined:
        rows = slice(int(starts[first]), int(starts[behind]))
        owner, candidate = queries.owner[rows] - first, queries.candidate[rows]
        at, now = queries.candidate_at[first:behind], queries.now[first:behind]
        customers = self._customers(queries, first, behind)
        before = [self._texts.get(int(key), "") for key in customers.head[:, slot_of(customers.layout, LAST_VIEWED)]]
        ids = pa.array(queries.candidates)
        layout = LAYOUTS["candidate"]
        which, times, pair = _unique(candidate, at[owner])
        table = self._ask("candidate", ids.take(which), times, _references("candidate", layout))
        table = _drop_expired(layout, table, times)
        # Attributes are the catalog's, which a decision reads as of its own time.
        which, times, attribute_pair = _unique(candidate, now[owner])
        references = [f"attributes:{name}" for name in ATTRIBUTES]
        attributes = self._ask("candidate", ids.take(which), times, references)
        told = {name: read_attribute(attributes[name]) for name in ATTRIBUTES}
        return Joined(
            customers=customers,
            successors=self._states("successors", pa.array(before, pa.string()), at),
            totals=self._states("candidate", pa.array([TOTAL] * len(at)), at),
            candidates=Stored.of(layout, table),
            pair=pair,
            attributes=lay_over(queries, range(first, behind), which, times, told),
            attribute_pair=attribute_pair,
        )

    def _customers(self, queries: Queries, first: int, behind: int) -> Columns:
        """The customers' rows, with the events that came inside the decisions applied."""
        layout = LAYOUTS["customer"]
        entities = pa.array(queries.customers[first:behind])
        if queries.states is None:
            stored = self._states("customer", entities, queries.customer_at[first:behind], queries.now[first:behind])
            if not any(queries.inline.get(at) for at in range(first, behind)):
                return stored.columns(slice(None))
            packed = [stored.packed(at) for at in range(behind - first)]
        else:
            unknown = pack(blank(layout, ""))
            packed = [queries.states.get(at, unknown) for at in range(first, behind)]
        return decode_rows(
            layout, [_advance(layout, row, queries.inline.get(at)) for at, row in enumerate(packed, first)]
        )

    def _states(self, view: str, entities: pa.Array, at: Ints, read_at: Ints | None = None) -> Stored:
        """The rows as of `at`, without those that were missing by the view's TTL when read (else at `at`)."""
        layout = LAYOUTS[view]
        key = "customer" if view == "customer" else "candidate"
        table = self._ask(key, entities, at, _references(view, layout))
        return Stored.of(layout, _drop_expired(layout, table, at if read_at is None else read_at))

    def _ask(self, key: str, entities: pa.Array, at: Ints, references: list[str]) -> pa.Table:
        labels = pa.table({key: entities, "event_timestamp": pa.array(at).cast(TIME)})
        return self._store.get_historical_features(entity_df=labels, features=references).to_arrow()


def _advance(layout: Layout, packed: Packed, events: list[Event] | None) -> Packed:
    """A customer's row with the events that came inside the decision."""
    if not events:
        return packed
    row = unpack(layout, "", 0, *packed)
    for occurrence in filter(None, map(read, events)):
        advance_customer(row, occurrence)
    return pack(row)


def _spans(starts: Ints, most: int, most_queries: int) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring queries with at most `most` rows together, as (first, behind)."""
    first, count = 0, len(starts) - 1
    while first < count:
        behind = int(np.searchsorted(starts, starts[first] + most, side="right")) - 1
        if behind == first:
            raise TrainingError(f"a query has {starts[first + 1] - starts[first]} candidates, at most {most} fit")
        behind = min(behind, count, first + most_queries)
        yield first, behind
        first = behind


def _references(view: str, layout: Layout) -> list[str]:
    return [f"{view}:{layout.numbers}", f"{view}:{layout.ids}", f"{view}:applied"]


def _drop_expired(layout: Layout, table: pa.Table, at: Ints) -> pa.Table:
    """As the service reads them: rows older than the view's TTL are missing. The join knows when a row was written."""
    applied = table["applied"].fill_null(np.iinfo(np.int64).max).to_numpy()
    gone = find_expired(layout.view, applied, at)
    if not gone.any():
        return table
    for name in (layout.numbers, layout.ids):
        kept = pc.if_else(pa.array(gone), pa.scalar(None, table[name].type), table[name])
        table = table.set_column(table.column_names.index(name), name, kept)
    return table


def _unique(candidate: Ints, at: Ints) -> tuple[Ints, Ints, Ints]:
    """(candidate, instant) of each different pair, and the pair of each row."""
    instants, of_row = np.unique(at, return_inverse=True)
    width = int(candidate.max()) + 1
    pairs, pair = np.unique(of_row * width + candidate, return_inverse=True)
    return pairs % width, instants[pairs // width], pair


def _compute(
    queries: Queries, joined: Joined, base: int, first: int, behind: int, rows: slice, base_row: int
) -> dict[str, Floats]:
    local = slice(first - base, behind - base)
    now = queries.now[first:behind] / SECOND
    owner = queries.owner[rows] - first
    inside = slice(rows.start - base_row, rows.stop - base_row)
    known = np.array([digest(text) for text in queries.candidates], np.int64)
    attributes = {name: values[joined.attribute_pair[inside]] for name, values in joined.attributes.items()}
    states = States(
        customers=joined.customers.take(np.arange(local.start, local.stop)),
        candidates=close_candidates(
            joined.candidates.columns(joined.pair[inside]), joined.totals.columns(local), now, owner
        ),
        successors=joined.successors.columns(local),
    )
    return compute(
        states,
        Subjects(
            now=now,
            owner=owner,
            candidate=known[queries.candidate[rows]],
            category=attributes["category"].astype(np.int64),
            kind=attributes["kind"].astype(np.int64),
            price=attributes["price"],
            value=attributes["value"],
            hour=queries.hour[first:behind],
            weekday=queries.weekday[first:behind],
            device=np.array([digest(text) for text in queries.device[first:behind]], np.int64),
            referrer=np.array([digest(text) for text in queries.referrer[first:behind]], np.int64),
            placement=np.array([digest(text) for text in queries.placement[first:behind]], np.int64),
        ),
    )
