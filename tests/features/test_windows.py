"""Counts, sums and distinct counts in a window against the plain list of their events, and merging as an algebra."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.aggregates.aging import DAY, HOUR
from features.aggregates.keyed import Table
from features.aggregates.windows import MOST, Distinct, Sum, Window
from features.ids import BITS, digest
from tests.features import oracle

START = 1_750_000_000.0
Amount = tuple[float, float]
"""Time and amount."""
Named = tuple[float, tuple[int, ...]]
"""Time and keys."""

moments = st.integers(0, 40 * 24 * 60).map(lambda minutes: START + 60.0 * minutes + 0.5)
# Amounts in eighths add up exactly in any order.
amounts = st.lists(st.tuples(moments, st.integers(-80, 8000).map(lambda eighths: eighths / 8)), max_size=30)
few_keys = st.integers(1, 30).map(lambda number: digest(f"p-{number}"))
named = st.lists(st.tuples(moments, st.lists(few_keys, min_size=1, max_size=4).map(tuple)), max_size=40)
latencies = st.sampled_from([0.0, 1.0, 59.0, 3600.0, 86_400.0 * 9])
parts = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted)

WINDOWS = [Window(DAY, HOUR), Window(HOUR, 600.0), Window(1000.0, 300.0), Sum(7 * DAY, DAY), Sum(HOUR, 600.0)]
DISTINCT = [Distinct(3 * DAY), Distinct(10 * DAY, bound=4), Distinct(HOUR, bound=1), Distinct(40 * DAY, bound=9)]


def accumulate(kind: Window, seen: list[Amount]) -> Table:
    state = kind.empty()
    for time, amount in seen:
        kind.update(state, time, amount if isinstance(kind, Sum) else 1.0, ())
    return state


@pytest.mark.parametrize("kind", WINDOWS, ids=lambda kind: kind.slug)
@settings(max_examples=60, deadline=None)
@given(seen=amounts, splits=parts, latency=latencies)
def test_a_window_takes_each_event_once_and_rounds_only_its_tail(
    kind: Window, seen: list[Amount], splits: list[int], latency: float
) -> None:
    now = max((time for time, _ in seen), default=START) + latency
    low, high = splits
    a, b, c = (accumulate(kind, part) for part in (seen[:low], seen[low:high], seen[high:]))
    whole, merged = accumulate(kind, seen), kind.merge(kind.merge(a, b), c)
    assert merged == kind.merge(a, kind.merge(c, b)) == whole
    assert kind.merge(whole, kind.empty()) == whole
    weighed = [(time, amount if isinstance(kind, Sum) else 1.0) for time, amount in seen]
    inside = [(time, amount) for time, amount in weighed if time // kind.hop >= (now - kind.length) // kind.hop]
    assert kind.close_table(whole, now) == math.fsum(amount for _, amount in inside)
    assert {time for time, _ in inside} >= {time for time, _ in seen if time > now - kind.length}
    assert {time for time, _ in inside} <= {time for time, _ in seen if time > now - kind.length - kind.hop}
    assert len(whole.rows) <= kind.length / kind.hop + 3


def test_an_event_from_before_the_epoch_stands_in_the_first_hop_and_leaves_with_it() -> None:
    kind = Window(DAY, HOUR)
    state = accumulate(kind, [(-3e9, 1.0)])
    assert list(state.rows) == [0]
    kind.update(state, START, 1.0, ())
    assert kind.close_table(state, START) == 1.0


def remember(kind: Distinct, seen: list[Named]) -> Table:
    state = kind.empty()
    for time, keys in seen:
        kind.update(state, time, 1.0, keys)
    return state


def flat(seen: list[Named]) -> list[tuple[float, int]]:
    return [(time, key) for time, keys in seen for key in keys]


@pytest.mark.parametrize("kind", DISTINCT, ids=lambda kind: f"{kind.slug}_{kind.bound}")
@settings(max_examples=80, deadline=None)
@given(seen=named, latency=latencies)
def test_a_distinct_count_is_that_of_the_plain_list_up_to_its_bound_and_beyond_it_what_the_smallest_tell(
    kind: Distinct, seen: list[Named], latency: float
) -> None:
    now = max((time for time, _ in seen), default=START) + latency
    state = remember(kind, seen)
    assert kind.close_table(state, now) == pytest.approx(oracle.distinct(kind, flat(seen), now))
    exact = len({key for time, key in flat(seen) if time > now - kind.length})
    if exact <= kind.bound:
        assert kind.close_table(state, now) == exact
    else:
        assert kind.close_table(state, now) >= kind.bound


@pytest.mark.parametrize("kind", DISTINCT, ids=lambda kind: f"{kind.slug}_{kind.bound}")
@settings(max_examples=80, deadline=None)
@given(seen=named, splits=parts)
def test_distinct_counts_merge_in_any_order_and_as_often_as_one_likes_into_that_of_all_events(
    kind: Distinct, seen: list[Named], splits: list[int]
) -> None:
    low, high = splits
    a, b, c = (remember(kind, part) for part in (seen[:low], seen[low:high], seen[high:]))
    whole = remember(kind, seen)
    assert kind.merge(kind.merge(a, b), c) == whole
    assert kind.merge(kind.merge(c, a), b) == whole
    assert kind.merge(whole, a) == kind.merge(whole, whole) == kind.merge(whole, kind.empty()) == whole
    assert remember(kind, seen[::-1]) == whole


def test_an_estimate_errs_as_its_documentation_says() -> None:
    chance = np.random.default_rng(7)
    kind, size, draws = Distinct(DAY, bound=16), 300, 2000
    errors = []
    for _ in range(draws):
        keys = chance.integers(1, 1 << BITS, size)
        state = Table([], {int(key): [START] for key in np.sort(keys)[: kind.bound + 1]})
        errors.append(kind.close_table(state, START) / size - 1.0)
    most = 1.0 / math.sqrt(kind.bound - 1)
    assert np.std(errors) < most * 1.05
    assert abs(np.mean(errors)) < 3.0 * most / math.sqrt(draws)


def test_the_estimate_of_many_real_ids_is_near_and_its_state_as_small_as_stated() -> None:
    kind = Distinct(30 * DAY)
    state = kind.empty()
    for number in range(3000):
        kind.update(state, START + number, 1.0, (digest(f"product {number}"),))
    assert kind.close_table(state, START + 3000.0) == pytest.approx(3000, rel=3 / math.sqrt(63))
    kept = kind.bound + 1
    assert len(state.rows) < 1.3 * kept * (1.0 + math.log(3000 / kept))


def test_ids_made_to_fill_a_state_cannot_make_it_larger_than_its_most() -> None:
    kind = Distinct(30 * DAY, bound=4)
    state = kind.empty()
    for number in range(1, 500):  # each larger than those before, so that none makes another superfluous
        kind.update(state, START + number, 1.0, (number,))
    assert len(state.rows) == MOST * kind.bound
    assert min(time for (time,) in state.rows.values()) == START + 500 - MOST * kind.bound
