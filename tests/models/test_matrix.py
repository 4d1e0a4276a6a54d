"""From states to the table that a model scores: the same rows alone and in bulk, and codes as they were trained."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from features.aggregates.columns import Columns, decode_rows
from features.aggregates.engine import TOTAL_ID, Candidates, advance_candidates, advance_customer
from features.aggregates.rows import LAYOUTS, Row, blank, pack
from features.events.occurrences import Item, Occurrence
from features.ids import digest
from models.matrix import States, Subjects, close_candidates, compute, device_of, encoder, moment, zone_of
from models.referrers import CLASSES
from models.signature import Feature, Signature, fillable, missing

NOW = 1_800_000_000.0
ITEMS = [f"o-{number}" for number in range(6)]


def item(number: int) -> Item:
    return Item(ITEMS[number], digest(ITEMS[number]), digest(f"kind-{number % 2}"), 1.0, 5.0)


def live(customers: int) -> tuple[list[Row], Candidates]:
    """States after some behaviour, of which no two customers have the same."""
    candidates = Candidates()
    rows = [blank(LAYOUTS["customer"], f"c-{number}") for number in range(customers)]
    names = ("Product Viewed", "Product Viewed", "Order Completed", "Promotion Viewed", "Promotion Clicked")
    for step in range(60):
        row = rows[step % customers]
        seen = Occurrence(names[step * 7 % 5], NOW - 4000.0 + step * 60.0, (item(step * 5 % 6),), 5.0)
        advance_candidates(candidates, row, seen, step + 1)
        advance_customer(row, seen)
    return rows, candidates


def columns(view: str, rows: list[Row]) -> Columns:
    return decode_rows(LAYOUTS[view], [pack(row) for row in rows])


def features_of(owners: list[int], rows: list[Row], candidates: Candidates) -> dict[str, np.ndarray]:
    """Every feature of each owner with each item, a row a pair."""
    pairs = [(at, number) for at in range(len(owners)) for number in range(len(ITEMS))]
    known = [candidates.candidate.get(digest(text)) or blank(LAYOUTS["candidate"], text) for text in ITEMS]
    count = len(owners)
    now, owner = np.full(count, NOW), np.array([at for at, _ in pairs])
    seen, totals = [known[number] for _, number in pairs], [candidates.candidate[TOTAL_ID]]
    states = States(
        customers=columns("customer", [rows[owner] for owner in owners]),
        candidates=close_candidates(columns("candidate", seen), columns("candidate", totals), now, owner),
        successors=columns("successors", [blank(LAYOUTS["successors"], "") for _ in owners]),
    )
    subjects = Subjects(
        now=now,
        owner=owner,
        candidate=np.array([digest(ITEMS[number]) for _, number in pairs]),
        category=np.array([digest(f"kind-{number % 2}") for _, number in pairs]),
        kind=np.full(len(pairs), digest("offer")),
        price=np.array([float(number) for _, number in pairs]),
        value=np.ones(len(pairs)),
        hour=np.full(count, 9.0),
        weekday=np.full(count, 2.0),
        device=np.array([digest(f"device-{owner}") for owner in owners]),
        referrer=np.array([digest(CLASSES[owner]) for owner in owners]),
        placement=np.full(count, digest("hero")),
    )
    return compute(states, subjects)


def test_every_feature_that_a_signature_may_name_is_computed_for_every_row() -> None:
    features = features_of([0, 1], *live(2))
    assert set(features) == set(fillable())
    assert {column.shape for column in features.values()} == {(12,)}


def test_one_decision_gets_the_numbers_that_training_gets_for_many_to_the_bit() -> None:
    rows, candidates = live(4)
    bulk = features_of([0, 1, 2, 3], rows, candidates)
    for owner in range(4):
        alone = features_of([owner], rows, candidates)
        for name, column in alone.items():
            np.testing.assert_array_equal(column, bulk[name][owner * 6 : owner * 6 + 6], err_msg=name)


def test_a_matrix_has_the_order_of_the_signature_and_the_codes_of_its_categories() -> None:
    signature = Signature(
        (
            Feature("context__hour"),
            Feature("context__device", "category", ("desktop", "mobile", "tablet")),
            Feature("candidate__price"),
            Feature("candidate__kind", "category", ()),
        )
    )
    features = {
        "candidate__price": np.array([1.0, 2.0, 3.0]),
        "context__hour": np.array([7.0, 8.0, 9.0]),
        "context__device": np.array([float(digest(text)) for text in ("tablet", "desktop", "fridge")]),
        "candidate__kind": np.array([float(digest("offer"))] * 3),
    }
    matrix = encoder(signature).encode(features)
    assert matrix[:, 0].tolist() == [7.0, 8.0, 9.0]
    assert matrix[:2, 1].tolist() == [2.0, 0.0]
    assert math.isnan(matrix[2, 1])
    assert matrix[:, 2].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(matrix[:, 3]).all()


def test_what_cannot_be_filled_is_told_also_when_only_the_kind_differs() -> None:
    good = Signature(tuple(Feature(name, kind) for name, kind in fillable().items()))
    assert missing(good) == []
    assert missing(Signature((Feature("candidate__price", "category"), Feature("no_such")))) == [
        "candidate__price",
        "no_such",
    ]


def test_hour_and_weekday_are_those_of_the_contexts_time_zone_else_the_catalogs() -> None:
    monday_evening = datetime(2026, 11, 23, 23, 30, tzinfo=UTC).timestamp()
    assert moment(monday_evening, UTC) == (23.0, 0.0)
    berlin = ZoneInfo("Europe/Berlin")
    assert moment(monday_evening, zone_of({}, berlin)) == (0.0, 1.0)
    assert moment(monday_evening, zone_of({"timezone": "America/New_York"}, berlin)) == (18.0, 0.0)
    for nonsense in ("Middle-earth/Shire", "../../etc/passwd", "", 7, None, ["UTC"]):
        assert zone_of({"timezone": nonsense}, berlin) is berlin


@pytest.mark.parametrize(
    ("context", "device"),
    [
        ({"device": "mobile"}, "mobile"),
        ({"device": {"type": "ios"}}, "ios"),
        ({"device": {"type": 3}}, ""),
        ({"device": 3}, ""),
        ({}, ""),
    ],
)
def test_the_device_is_a_word_or_nothing(context: dict[str, object], device: str) -> None:
    assert device_of(context) == device


def test_a_signature_from_before_a_feature_was_added_is_filled_as_before() -> None:
    older = Signature(tuple(Feature(name, kind) for name, kind in fillable().items() if name != "context__referrer"))
    assert missing(older) == []
    features = features_of([0], *live(1))
    matrix = encoder(older).encode(features)
    assert matrix.shape == (6, len(fillable()) - 1)
    hour = older.names.index("context__hour")
    np.testing.assert_array_equal(matrix[:, hour], features["context__hour"])
