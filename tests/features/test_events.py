"""Events: their bytes never move, nothing that intake kept is lost, and reading them never fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events import schema
from features.events.occurrences import LONGEST_ID, Item, Occurrence, read
from features.events.schema import (
    Alias,
    CatalogPublished,
    ConsentGiven,
    Decision,
    Erased,
    Event,
    Group,
    Identify,
    Joined,
    Page,
    Screen,
    Served,
    Slot,
    SnapshotTaken,
    StateRead,
    Track,
    decode,
    encode,
)
from features.ids import digest

GOLDEN = Path(__file__).parents[1] / "golden" / "events.json"
TIME = 1_760_000_000_000_000

common: dict[str, Any] = {"message_id": "m-1", "customer": "c-1", "time": TIME, "received": TIME + 1500}
VIEW = Track(
    **common,
    user_id="c-1",
    anonymous_id="a-1",
    context={"page": {"path": "/"}, "locale": "en-GB"},
    decision_id="d-1",
    event="Product Viewed",
    properties={"product_id": "p-1", "price": 9.5, "tags": ["new", None, True], "größe": "m"},
)
EXAMPLES: dict[str, Event] = {
    "track": VIEW,
    "identify": Identify(**common, traits={"email": "ann@example.org"}),
    "page": Page(**common, name="Home", properties={"path": "/"}),
    "screen": Screen(**common, name="Basket"),
    "group": Group(**common, group_id="g-1", traits={"plan": "gold"}),
    "alias": Alias(**common, previous_id="a-1"),
    "catalog": CatalogPublished(
        **{**common, "customer": ""}, version="v1", candidates=[{"id": "o-1", "kind": "offer", "price": 2.0}]
    ),
    "snapshot": SnapshotTaken(**{**common, "customer": ""}, number=7, cursors={"0": TIME, "-1": TIME - 5}),
    "joined": Joined(
        **{**common, "customer": "c-2"},
        via=[("a-1", TIME - 7)],
        previous="a-1",
        linked=TIME - 7,
        state=StateRead(layout="0a1b2c3d", applied=TIME - 9, numbers=b"\x00", ids=b"\x02"),
        assignment="a-1",
        assigned=TIME - 99,
        consent={"tracking": (TIME - 8, False)},
    ),
    "consent": ConsentGiven(**common, purposes={"tracking": True, "marketing": False}),
    "erased": Erased(**common),
    "decision": Decision(
        **common,
        decision_id="d-1",
        placements=[
            Slot(
                id="home-hero",
                limit=1,
                candidates=["o-1", "o-2"],
                items=[
                    Served(id="o-1", rank=1, priority=0.73, propensity=0.061, value=12.0, selection_probability=0.95)
                ],
                rejected={"not_in_placement": ["o-2"]},
                exploration=0.1,
                model="offers/7",
            ),
            Slot(id="home-grid", limit=6, items=[Served(id="o-3", rank=1, priority=1.0, value=1.0)]),
        ],
        rung="model",
        catalog_version="v1",
        snapshot=7,
        snapshot_time=TIME - 900,
        state=StateRead(layout="0a1b2c3d", applied=TIME - 5, numbers=b"\x00\x01\xff", ids=b""),
        events=[VIEW],
        variants={"hero-test": "bold"},
        forced=["hero-test"],
        seed="d-1",
    ),
}


def test_the_bytes_of_every_event_stand_as_recorded() -> None:
    recorded = json.loads(GOLDEN.read_text())
    assert {name: encode(event).decode() for name, event in EXAMPLES.items()} == recorded
    assert {name: decode(text.encode()) for name, text in recorded.items()} == EXAMPLES


def test_every_kind_of_event_has_an_example() -> None:
    assert {type(event) for event in EXAMPLES.values()} == set(Event.__args__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_field_of_a_later_version_is_passed_over(name: str) -> None:
    later = {**json.loads(encode(EXAMPLES[name])), "addedLater": {"a": [1]}, "schema": 2}
    assert decode(msgspec.json.encode(later)) == msgspec.structs.replace(EXAMPLES[name], schema=2)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]", b'{"type": "unknown"}', b'{"type": "track"}', b"\xff"])
def test_what_is_no_event_is_refused(payload: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(payload)


numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
# Lone surrogates are no JSON text in UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(texts, parts, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=5)
times = st.integers(0, 2**53)


def build(kind: type[Any], fields: dict[str, Any]) -> Any:
    return kind(**{name: value for name, value in fields.items() if name in kind.__struct_fields__})


behaving = st.sampled_from([Track, Identify, Page, Screen, Group, Alias])
drawn = st.builds(
    build,
    behaving,
    st.fixed_dictionaries(
        {
            "message_id": texts,
            "customer": texts,
            "time": times,
            "received": times,
            "event": texts,
            "group_id": texts,
            "previous_id": texts,
        },
        optional={
            "user_id": texts,
            "anonymous_id": texts,
            "context": objects,
            "properties": objects,
            "traits": objects,
            "name": texts,
            "decision_id": texts,
        },
    ),
)


@settings(max_examples=100, deadline=None)
@given(event=drawn)
def test_an_event_comes_back_from_its_bytes_with_all_that_intake_kept(event: Event) -> None:
    assert decode(encode(event)) == event


# Properties that features look at, with whatever a client may send in them.
odd = values | st.sampled_from(
    ["", "x" * (LONGEST_ID + 1), "1e999", "nan", " 7 ", "\x00", 10**18, -1, 1e308, [[]], [{}]]
)
known = st.sampled_from(
    ["product_id", "sku", "promotion_id", "category", "quantity", "price", "revenue", "total", "value"]
)
lines = st.dictionaries(known | texts, odd, max_size=6)
properties = st.builds(
    lambda line, products: line | products,
    lines,
    st.just({}) | st.fixed_dictionaries({"products": odd | st.lists(lines | odd, max_size=4)}),
)
names = st.sampled_from(["Product Viewed", "Order Completed", "Promotion Clicked", "", "Promotion"]) | texts


@settings(max_examples=200, deadline=None)
@given(name=names, properties=properties, page=st.booleans())
def test_reading_never_fails_whatever_a_client_sent(name: str, properties: dict[str, Any], page: bool) -> None:
    event = Page(**common, properties=properties) if page else Track(**common, event=name, properties=properties)
    seen = read(decode(encode(event)))
    assert seen is not None
    ids = [item.text for item in seen.items]
    assert len(set(ids)) == len(ids)
    assert all(0 < len(text) <= LONGEST_ID for text in ids)
    for amount in [seen.revenue, *[item.quantity for item in seen.items], *[item.price for item in seen.items]]:
        assert isinstance(amount, float)
        assert abs(amount) <= 1.7976931348623157e308


@pytest.mark.parametrize("digits", [30, 400, 5000])
def test_a_number_too_large_for_a_float_counts_as_absent(digits: int) -> None:
    payload = encode(Track(**common, event="Order Completed", properties={"revenue": 1, "product_id": 2}))
    payload = payload.replace(b'"revenue":1', b'"revenue":' + b"9" * digits)
    payload = payload.replace(b'"product_id":2', b'"product_id":' + b"9" * digits)
    try:
        event = decode(payload)
    except msgspec.MsgspecError:
        return  # refused as JSON already
    seen = read(event)
    assert seen is not None
    assert 0 <= seen.revenue < 1e31


def test_an_order_names_each_product_once_with_its_quantities_added() -> None:
    products = [
        {"product_id": "p-1", "category": "hats", "quantity": 2, "price": 5},
        {"sku": "p-2"},
        "nonsense",
        {"product_id": 17, "quantity": "3"},
        {"product_id": "p-1", "category": "hats", "price": "6.5"},
        {"product_id": None, "quantity": 4},
    ]
    event = Track(**common, event="Order Completed", properties={"products": products, "total": "19.5", "value": 1})
    assert read(event) == Occurrence(
        "Order Completed",
        TIME / 1e6,
        (
            Item("p-1", digest("p-1"), digest("hats"), 3.0, 6.5),
            Item("p-2", digest("p-2"), 0),
            Item("17", digest("17"), 0, 3.0),
        ),
        19.5,
    )


def test_an_exposure_names_the_promotion_and_a_view_the_product() -> None:
    both = {"promotion_id": "o-1", "product_id": "p-1"}
    for name, expected in [("Promotion Viewed", "o-1"), ("Promotion Clicked", "o-1"), ("Product Viewed", "p-1")]:
        seen = read(Track(**common, event=name, properties=both))
        assert seen is not None
        assert [item.text for item in seen.items] == [expected]


def test_only_behaviour_is_read() -> None:
    behaviour = {name for name, event in EXAMPLES.items() if read(event) is not None}
    assert behaviour == {"track", "page", "screen"}
    seen = read(EXAMPLES["page"])
    assert seen is not None
    assert seen.name == "Page Viewed"


def test_the_schema_of_records_is_numbered() -> None:
    assert schema.SCHEMA == 1
    assert VIEW.schema == 1
