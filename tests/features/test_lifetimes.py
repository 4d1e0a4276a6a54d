"""The age at which values go missing: the same microsecond online and in the training join."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from features import lifetimes
from features.aggregates.rows import LAYOUTS, blank, pack
from features.lifetimes import LIFETIMES, is_expired
from features.store import open_store

if TYPE_CHECKING:
    from features.home import Home

TIME = pa.timestamp("us", tz="UTC")
APPLIED = 1_700_000_000_000_000
STEPS = (-1, 0, 1)
"""Microseconds from a row's last moment."""


def test_the_docstring_example_holds() -> None:
    import doctest

    assert doctest.testmod(lifetimes).failed == 0


def test_every_streaming_view_has_a_lifetime() -> None:
    assert set(LIFETIMES) == set(LAYOUTS)


@pytest.mark.parametrize("view", sorted(LIFETIMES))
def test_the_point_in_time_join_and_the_rule_online_agree_to_the_microsecond(
    view: str, home: Home, redis_url: str
) -> None:
    layout = LAYOUTS[view]
    key = "customer" if view == "customer" else "candidate"
    numbers, ids = pack(blank(layout, "it"))
    store = open_store(home, redis_url)
    rows = {
        key: ["it"],
        "event_timestamp": pa.array([APPLIED]).cast(TIME),
        "applied": [APPLIED],
        layout.numbers: pa.array([numbers], pa.list_(pa.float64())),
        layout.ids: pa.array([ids], pa.list_(pa.int64())),
    }
    parquet.write_table(pa.table(rows), home.history / view / "000000.parquet")
    last = APPLIED + LIFETIMES[view] // timedelta(microseconds=1)
    asked = [APPLIED, *(last + step for step in STEPS)]
    labels = pa.table({key: ["it"] * len(asked), "event_timestamp": pa.array(asked).cast(TIME)})
    joined = store.get_historical_features(entity_df=labels, features=[f"{view}:applied"]).to_arrow()
    missing = [value is None for value in joined["applied"].to_pylist()]
    assert missing == [is_expired(view, APPLIED, at) for at in asked] == [False, False, False, True]


@given(applied=st.integers(0, 1 << 52), age=st.integers(0, 1 << 50), later=st.integers(0, 1 << 50))
def test_what_has_expired_stays_so_and_an_event_from_ahead_of_the_clock_never_has(
    applied: int, age: int, later: int
) -> None:
    if is_expired("customer", applied, applied + age):
        assert is_expired("customer", applied, applied + age + later)
    assert not is_expired("customer", applied, applied - age)
