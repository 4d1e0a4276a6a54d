"""Imports: rows of real files become the events that the schema would write, once, whatever files they come in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features import archive, history
from features.events.schema import Track, encode
from features.home import Home
from tests.features.imported import DAY, NOW, ORDERS, VIEWS, Row, archived, digest, run, tracks, views, write

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ["a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.ndjson", "a.ndjson.gz", "a.parquet"]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_events_that_the_schema_would_write(home: Home, tmp_path: Path, name: str) -> None:
    summary = run(home, VIEWS, write(tmp_path / name, views(["o-1", 'a "b", c', "ö\n漢"], who="c/1")))
    assert (summary.rows, summary.accepted, summary.events, summary.customers) == (3, 3, 3, 1)
    found = archived(home)
    for number, (arrival, payload, event) in enumerate(found):
        time = at("2024-03-01T10:00:00") + number * 60_000_000
        expected = Track(
            message_id=event.message_id,
            customer="c/1",
            user_id="c/1",
            time=time,
            received=time,
            event="Product Viewed",
            properties={"product_id": ["o-1", 'a "b", c', "ö\n漢"][number], "price": 1.5 + number},
        )
        assert event == expected
        assert payload == encode(expected)
        assert arrival == time


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\é', min_size=1), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(JSON, min_size=1, max_size=30))
def test_properties_keep_any_value_that_json_can_hold(
    tmp_path_factory: pytest.TempPathFactory, values: list[object]
) -> None:
    folder = tmp_path_factory.mktemp("import")
    rows = [{"who": f"c-{at}", "when": "2024-03-01", "value": {"of": value}} for at, value in enumerate(values)]
    mapping = "columns: {customer: who, time: when, event: {value: Any}}\nproperties: {value: value}"
    run(Home(folder), mapping, write(folder / "a.jsonl", rows))
    found = {event.customer: event.properties for event in tracks(Home(folder))}
    assert found == {row["who"]: {"value": row["value"]} for row in rows}


def test_lines_of_an_order_become_one_event_with_products_and_sums(home: Home, tmp_path: Path) -> None:
    lines = [
        {"who": 7.0, "when": "2024-03-01 10:00:00", "number": "n-1", "item": "a", "price": 0.1, "quantity": 3},
        {"who": 7.0, "when": "2024-03-01 10:01:00", "number": "n-1", "item": "b", "price": 0.2, "quantity": 1},
        {"who": 7.0, "when": "2024-03-01 10:01:00", "number": "n-1", "item": "a", "price": 0.1, "quantity": 1},
        {"who": 7.0, "when": "2024-03-01 10:00:30", "number": "n-2", "item": "c", "price": 5.0, "quantity": -1},
        {"who": 8.5, "when": "2024-03-01 10:00:00", "number": "n-1", "item": "a", "price": None, "quantity": 2},
    ]
    summary = run(home, ORDERS, write(tmp_path / "orders.parquet", lines))
    assert (summary.accepted, summary.events, summary.rejected) == (4, 2, {"returned": 1})
    [(_, other, _), (arrival, payload, event)] = archived(home)[1:]
    products = [
        {"product_id": item, "price": price, "quantity": quantity}
        for item, price, quantity in (("a", 0.1, 3), ("b", 0.2, 1), ("a", 0.1, 1))
    ]
    expected = Track(
        message_id=event.message_id,
        customer="7",
        user_id="7",
        time=at("2024-03-01T10:01:00"),  # when the order was complete
        received=arrival,
        event="Order Completed",
        properties={"order_id": "n-1", "products": products, "revenue": 0.6},
    )
    assert (event, payload) == (expected, encode(expected))
    assert json.loads(other)["properties"] == {"order_id": "n-1", "products": [{"product_id": "a", "quantity": 2}]}


def test_a_second_import_changes_nothing(home: Home, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", [*views(["a", "b", "a"]), *views(["a"])])
    first = run(home, VIEWS, file)
    before = digest(home)
    second = run(home, VIEWS, file, now=NOW + 10 * DAY)
    assert (first.events, second.events, second.known) == (4, 0, 4)
    assert digest(home) == before


def test_rows_that_are_alike_count_as_often_as_a_file_has_them(home: Home, tmp_path: Path) -> None:
    rows = views(["a"]) * 3
    assert run(home, VIEWS, write(tmp_path / "a.csv", rows)).events == 3
    assert run(home, VIEWS, write(tmp_path / "b.csv", rows * 2)).events == 3
    assert len({event.message_id for event in tracks(home)}) == 6


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_an_overlapping_file_adds_only_its_new_rows(tmp_path: Path, ending: str) -> None:
    rows = [*views(["a", "b"]), *views(["a"]), *views(["c", "d"], start=30)]
    january = write(tmp_path / f"1.{ending}", rows[:4])
    february = write(tmp_path / f"2.{ending}", rows[2:])
    one_by_one, together = Home(tmp_path / "one"), Home(tmp_path / "both")
    assert [run(one_by_one, VIEWS, file, folder=tmp_path).events for file in (january, february)] == [4, 1]
    both = run(together, VIEWS, january, february, folder=tmp_path)
    assert (both.rows, both.accepted, both.repeated, both.events) == (7, 7, 2, 5)
    ids = [{event.message_id for event in tracks(home)} for home in (one_by_one, together)]
    assert ids[0] == ids[1]


def test_arrivals_of_a_customer_rise_in_the_order_asked_for(home: Home, tmp_path: Path) -> None:
    steps = {"1": 3, "2": 1, "3": 2, "4": 1}
    rows = [{"who": who, "when": "2024-03-01", "item": item, "step": steps[item]} for who in "ab" for item in steps]
    mapping = """
    columns: {customer: who, time: when, event: {value: Product Viewed}}
    properties: {product_id: item}
    order_by: [step]
    """
    run(home, mapping, write(tmp_path / "a.parquet", rows))
    for who in "ab":
        mine = [(arrival, event) for arrival, _, event in archived(home) if event.customer == who]
        assert [event.properties["product_id"] for _, event in mine if isinstance(event, Track)] == ["2", "4", "3", "1"]
        assert [arrival for arrival, _ in mine] == [at("2024-03-01T00:00:00") + step for step in range(4)]
        assert {event.time for _, event in mine} == {at("2024-03-01T00:00:00")}


def test_new_events_share_no_instant_with_those_a_customer_has(home: Home, tmp_path: Path) -> None:
    def alike(items: str) -> list[Row]:
        return [{**row, "when": "2024-03-01"} for row in views(items)]

    run(home, VIEWS, write(tmp_path / "1.csv", alike("abc")))
    run(home, VIEWS, write(tmp_path / "2.csv", alike("abcdef")))
    arrivals = [arrival for arrival, _, _ in archived(home)]
    assert arrivals == [at("2024-03-01T00:00:00") + step for step in range(6)]


def test_a_shift_moves_whole_weeks_and_no_message_id(home: Home, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", views("abc"))
    plain = Home(tmp_path / "plain")
    run(plain, VIEWS, file, folder=tmp_path)
    summary = run(home, VIEWS, file, shift=True)
    assert summary.shift % (7 * DAY) == 0
    assert NOW - 7 * DAY < tracks(home)[-1].time <= NOW
    assert [event.time - summary.shift for event in tracks(home)] == [event.time for event in tracks(plain)]
    assert {event.message_id for event in tracks(home)} == {event.message_id for event in tracks(plain)}


def test_a_shift_stays_what_it_was_in_later_imports(home: Home, tmp_path: Path) -> None:
    mapping = VIEWS + "shift_to: now"
    first = run(home, mapping, write(tmp_path / "1.csv", views("abc")))
    before = digest(home)
    assert run(home, mapping, tmp_path / "1.csv", now=NOW + 30 * DAY).events == 0
    assert digest(home) == before
    rows = [*views("abcd"), {**views("e")[0], "when": "2024-03-29"}]
    early = run(home, VIEWS, write(tmp_path / "2.csv", rows))
    assert (early.events, early.shift, early.rejected) == (1, first.shift, {"time in the future": 1})
    later = run(home, VIEWS, tmp_path / "2.csv", now=NOW + 30 * DAY)
    assert (later.events, later.shift, later.rejected) == (1, first.shift, {})


def test_naive_times_are_of_the_mappings_zone_and_offsets_are_kept(home: Home, tmp_path: Path) -> None:
    times = ["2024-07-01 10:00", "2024-01-01T10:00:00", "2024-07-01T10:00:00Z", "2024-07-01T10:00:00+02:00"]
    rows = [{"who": f"c-{number}", "when": time, "item": "a", "price": 1} for number, time in enumerate(times)]
    run(home, VIEWS + "time_zone: America/New_York", write(tmp_path / "a.csv", rows))
    found = {event.customer: datetime.fromtimestamp(event.time / 1e6, UTC).hour for event in tracks(home)}
    assert found == {"c-0": 14, "c-1": 15, "c-2": 10, "c-3": 8}


@pytest.mark.parametrize(
    ("time_format", "value"),
    [
        ("unix_s", 1709287200.5),
        ("unix_ms", 1709287200500),
        ("unix_us", 1709287200500000),
        ("%d.%m.%Y %H:%M:%S.%f", None),
    ],
)
def test_times_come_in_the_format_that_the_mapping_names(
    home: Home, tmp_path: Path, time_format: str, value: float | None
) -> None:
    row = {"who": "c", "when": value or "01.03.2024 10:00:00.500", "item": "a", "price": 1.0}
    for name in ("a.csv", "b.parquet"):
        run(home, f"{VIEWS}time_format: '{time_format}'", write(tmp_path / name, [row]))
    assert {event.time for event in tracks(home)} == {at("2024-03-01T10:00:00") + 500_000}


def test_event_names_are_translated_and_known_ids_go_before_anonymous_ones(home: Home, tmp_path: Path) -> None:
    rows: list[Row] = [
        {"user": None, "visit": 3, "when": "2024-03-01", "do": "view"},
        {"user": "u", "visit": 3, "when": "2024-03-02", "do": "cart"},
        {"user": "u", "visit": 4, "when": "2024-03-03", "do": "wave"},
    ]
    mapping = """
    columns:
      customer: user
      anonymous: visit
      time: when
      event: {column: do, map: {view: Product Viewed, cart: Product Added}}
    """
    summary = run(home, mapping, write(tmp_path / "a.parquet", rows))
    assert summary.rejected == {"no event name": 1}
    seen = [(event.event, event.customer, event.user_id, event.anonymous_id) for event in tracks(home)]
    assert seen == [("Product Viewed", "3", None, "3"), ("Product Added", "u", "u", "3")]


def test_imported_history_gives_every_customer_a_row_for_each_event(home: Home, tmp_path: Path) -> None:
    days = [str(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)) for number in range(12)]
    rows = [{**row, "who": f"c-{number % 3}", "when": days[number]} for number, row in enumerate(views("abcdefghijkl"))]
    run(home, VIEWS, write(tmp_path / "a.parquet", rows))
    rebuilt = history.rebuild(home)
    assert rebuilt.events == 12
    assert len(rebuilt.customers) == 3
    assert rebuilt.cursors == {archive.IMPORTED: at("2024-01-12T00:00:00")}
    assert history.is_current(home)
