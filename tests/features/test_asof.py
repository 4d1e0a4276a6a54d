"""The point-in-time join of the offline store against Feast's own and against a naive oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.historical import (
    EPOCH,
    FEATURES,
    REFERENCES,
    RULES,
    Row,
    Rule,
    World,
    build,
    features_of,
    frame,
    joined,
    row,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# ibis 12 calls a method of DuckDB that DuckDB 2 renamed; only the stock store and materialization go through ibis
pytestmark = pytest.mark.filterwarnings(r"ignore:fetch_arrow_table\(\) is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("offline"))


def label_frame(labels: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": range(len(labels)),
            "customer": pd.array([label["customer"] for label in labels], dtype="string"),
            "candidate": [label["candidate"] for label in labels],
            "event_timestamp": pd.to_datetime([EPOCH + label["time"] for label in labels], unit="us", utc=True),
        }
    )


def newest(rows: Sequence[Row], rule: Rule, label: Row) -> Row:
    """The oracle: of the rows that fit the last, of equal times the last written, else the first in the files."""
    fitting = [
        row
        for row in rows
        if all(row[key] == label[key] is not None for key in rule.keys)
        and row["event_timestamp"] is not None
        and row["event_timestamp"] <= label["time"]
        and (rule.ttl == 0 or row["event_timestamp"] + rule.ttl >= label["time"])
    ]

    def recency(row: Row) -> tuple[int, int]:
        return row["event_timestamp"], -1 if row["written"] is None or not rule.created else row["written"]

    return max(fitting, key=recency, default=dict.fromkeys(FEATURES))


def expected(rows: dict[str, list[Row]], labels: Sequence[Row]) -> list[Row]:
    return [
        {
            f"{name}__{feature}": newest(rows[name], rule, label)[feature]
            for name, rule in RULES.items()
            for feature in FEATURES
        }
        for label in labels
    ]


customers = st.sampled_from(["a", "b", "ü-3"])
candidates = st.integers(1, 3)


def rows_within(candidates: st.SearchStrategy[int], times: st.SearchStrategy[int]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(
        {
            "customer": st.none() | customers,
            "candidate": candidates,
            "event_timestamp": st.none() | times,
            "written": st.none() | st.integers(0, 3),
            "numbers": st.none() | st.lists(st.floats(allow_nan=False), max_size=3),
            "counts": st.none() | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
            "applied": st.integers(0, 2**60),
        }
    )


rows = rows_within(candidates, st.integers(0, 20))
crowded = st.lists(rows_within(st.just(1), st.integers(0, 2)), min_size=10, max_size=40)
"""Rows most of which tie with another."""


def labels_within(candidates: st.SearchStrategy[int], last: int) -> st.SearchStrategy[list[Row]]:
    whom = st.none() | customers | st.just("unknown")
    label = st.fixed_dictionaries({"customer": whom, "candidate": candidates, "time": st.integers(0, last)})
    return st.lists(label, min_size=1, max_size=12)


def distinct(*columns: str) -> st.SearchStrategy[list[Row]]:
    """Rows among which no two tie: which of them stock Feast takes is not laid down."""
    return st.lists(rows, max_size=15, unique_by=lambda row: tuple(row[column] for column in columns))


@settings(max_examples=20, deadline=None)
@given(
    plain=distinct("customer", "event_timestamp"),
    brief=distinct("candidate", "event_timestamp"),
    pairs=distinct("customer", "candidate", "event_timestamp", "written"),
    labels=labels_within(candidates | st.just(9), 30),
    split=st.integers(0, 15),
)
def test_the_join_equals_the_one_of_stock_feast(
    world: World, plain: list[Row], brief: list[Row], pairs: list[Row], labels: list[Row], split: int
) -> None:
    given_rows = {"plain": plain, "brief": brief, "pairs": pairs}
    for name, of_view in given_rows.items():
        write(world.root / name, of_view, split)
    ours = joined(world.ours, label_frame(labels), REFERENCES)
    stock = joined(world.stock, label_frame(labels), REFERENCES)
    assert ours.column_names == stock.column_names
    assert features_of(ours) == features_of(stock) == expected(given_rows, labels)


@settings(max_examples=25, deadline=None)
@given(of_view=crowded, labels=labels_within(st.just(1), 4), split=st.integers(0, 40))
def test_ties_go_to_the_last_written_and_then_to_the_first_row(
    world: World, of_view: list[Row], labels: list[Row], split: int
) -> None:
    for name in RULES:
        write(world.root / name, of_view, split)
    assert features_of(joined(world.ours, label_frame(labels), REFERENCES)) == expected(
        dict.fromkeys(RULES, of_view), labels
    )


def test_a_row_stamped_exactly_at_the_label_is_joined_and_the_ttl_includes_its_last_microsecond(world: World) -> None:
    write(world.root / "brief", [row("a", 5, 1.0)])
    labels = frame(at=[4, 5, 15, 16], candidate=1)
    for feast in (world.ours, world.stock):
        table = joined(feast, labels.assign(number=range(4)), ["brief:applied"]).sort_by("number")
        assert table["brief__applied"].to_pylist() == [None, 5, 5, None]
