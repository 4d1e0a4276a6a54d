"""The Feast objects: entities and one feature view a layout, the same schema online and offline."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import features.quiet_feast  # noqa: F401  # before Feast

# isort: split
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float64, Int64, String

from features.aggregates.rows import LAYOUTS, Layout
from features.lifetimes import LIFETIMES

if TYPE_CHECKING:
    from pathlib import Path

CUSTOMER = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
CANDIDATE = Entity(name="candidate", join_keys=["candidate"], value_type=ValueType.STRING)

ATTRIBUTES = "attributes"
"""The view of what the catalog says of a candidate, by the time of its publish; offline only."""
IDENTITY = "identity"
"""The view of which ids are one customer; only what was joined has rows in it."""


def build(history: Path) -> dict[str, FeatureView]:
    """The feature views over the historical store in `history`, by name."""
    views = {name: _view(layout, history / name) for name, layout in LAYOUTS.items()}
    views[ATTRIBUTES] = FeatureView(
        name=ATTRIBUTES,
        entities=[CANDIDATE],
        ttl=timedelta(0),
        schema=[
            Field(name="candidate", dtype=String),
            Field(name="kind", dtype=String),
            Field(name="category", dtype=String),
            Field(name="price", dtype=Float64),
            Field(name="value", dtype=Float64),
        ],
        source=_source(ATTRIBUTES, history / ATTRIBUTES),
        online=False,
        description="What the catalog says of a candidate.",
    )
    views[IDENTITY] = FeatureView(
        name=IDENTITY,
        entities=[CUSTOMER],
        ttl=timedelta(0),
        schema=[
            Field(name="customer", dtype=String),
            Field(name="owner", dtype=String, description="The id that this one was joined to; empty for none."),
            Field(name="consent", dtype=String, description="What the customer allows, as JSON; see features.consent."),
            Field(name="linked", dtype=Int64, description="Arrival of the event that joined them, in microseconds."),
            Field(name="assignment", dtype=String, description="The id under which the customer was seen first."),
            Field(name="assigned", dtype=Int64, description="When that was, in microseconds."),
            Field(name="traits", dtype=String, description="What identify events told, as JSON; see features.traits."),
        ],
        source=_source(IDENTITY, history / IDENTITY),
        online=True,
        description="Which ids are one customer.",
    )
    return views


def _view(layout: Layout, folder: Path) -> FeatureView:
    entity = CUSTOMER if layout.view == "customer" else CANDIDATE
    names = ", ".join(output for aggregate in layout.aggregates for output in aggregate.outputs)
    return FeatureView(
        name=layout.view,
        entities=[entity],
        ttl=LIFETIMES[layout.view],
        schema=[
            Field(name=entity.join_key, dtype=String),
            Field(name="applied", dtype=Int64, description="Arrival of the last event in the row, in microseconds."),
            Field(
                name=layout.numbers, dtype=Array(Float64), description="Packed states, see features.aggregates.rows."
            ),
            Field(name=layout.ids, dtype=Array(Int64), description="Keys of the packed states."),
        ],
        source=_source(layout.view, folder),
        online=True,
        description=f"Streaming aggregates, closed at read time to: {names}",
    )


def _source(name: str, folder: Path) -> FileSource:
    return FileSource(name=f"{name}_history", path=str(folder), timestamp_field="event_timestamp")
