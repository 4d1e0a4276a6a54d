"""Columns of many rows: closed together they equal each row closed alone, to the bit, and the naive oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.aggregates import columns
from features.aggregates.derived import derive_candidates, derive_pairs
from features.aggregates.engine import TOTAL_ID, Candidates
from features.aggregates.keyed import KeyedKind
from features.aggregates.rows import LAYOUTS, Row, blank, pack
from features.aggregates.windows import Whole
from features.ids import NOTHING, digest
from tests.features import oracle
from tests.features.behaviour import CUSTOMERS, PRODUCTS, PROMOTIONS, SECOND, behave
from tests.features.oracle import Oracle

END = 1_760_000_000 * SECOND
CUSTOMER = LAYOUTS["customer"]
CANDIDATES = ["", *PRODUCTS, *PROMOTIONS, "never seen"]
CATEGORIES = ["", "shoes", "hats", "coats", "never seen"]
KEYED = [
    output
    for aggregate in CUSTOMER.aggregates
    if isinstance(aggregate.kind, KeyedKind) and not isinstance(aggregate.kind, Whole)
    for output in aggregate.outputs
]

seeds = st.integers(0, 1 << 30)
Keys = dict[str, NDArray[np.int64]]


def advance(seed: int, size: int) -> tuple[dict[str, Row], Candidates]:
    """The states of all customers, one of them new."""
    rows, candidates = oracle.advance(behave(seed, size, END))
    return {customer: rows.get(customer, blank(CUSTOMER, customer)) for customer in [*CUSTOMERS, "new"]}, candidates


def decode(rows: list[Row], view: str = "customer") -> columns.Columns:
    return columns.decode_rows(LAYOUTS[view], [pack(row) for row in rows])


def draw_keys(chance: np.random.Generator, count: int) -> Keys:
    return {
        "candidate": np.array(
            [digest(CANDIDATES[at]) for at in chance.integers(len(CANDIDATES), size=count)], np.int64
        ),
        "category": np.array([digest(CATEGORIES[at]) for at in chance.integers(len(CATEGORIES), size=count)], np.int64),
    }


@settings(max_examples=30, deadline=None)
@given(seed=seeds, size=st.integers(0, 60), count=st.integers(0, 40))
def test_many_owners_close_to_the_bit_as_each_of_them_alone(seed: int, size: int, count: int) -> None:
    chance = np.random.default_rng(seed)
    rows = list(advance(seed, size)[0].values())
    now = END / 1e6 + chance.uniform(-3600, 86_400, len(rows))
    owner = chance.integers(len(rows), size=count)
    keys = draw_keys(chance, count)
    together = columns.close(decode(rows), now, owner, keys)
    unkeyed = columns.close(decode(rows), now)
    for at, row in enumerate(rows):
        mine = np.flatnonzero(owner == at)
        mine_keys = {name: values[mine] for name, values in keys.items()}
        alone = columns.close(decode([row]), now[at : at + 1], np.zeros(len(mine), np.int64), mine_keys)
        assert alone.keys() == together.keys()
        for name, values in alone.items():
            np.testing.assert_array_equal(values, together[name][mine], name)
        for name, values in columns.close(decode([row]), now[at : at + 1]).items():
            np.testing.assert_array_equal(values, unkeyed[name][at : at + 1], name)
    assert together.keys() - unkeyed.keys() == set(KEYED)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, size=st.integers(0, 50), later=st.sampled_from([0.0, 7200.0]))
def test_many_owners_with_many_keys_close_to_the_naive_oracles_values(seed: int, size: int, later: float) -> None:
    chance = np.random.default_rng(seed)
    rows = list(advance(seed, size)[0].values())
    naive = Oracle(behave(seed, size, END))
    owner = chance.integers(len(rows), size=25)
    candidates, categories = chance.choice(CANDIDATES, 25), chance.choice(CATEGORIES, 25)
    keys = {
        "candidate": np.array([digest(str(text)) for text in candidates]),
        "category": np.array([digest(str(text)) for text in categories]),
    }
    closed = columns.close(decode(rows), np.full(len(rows), END / 1e6 + later), owner, keys)
    for at in range(25):
        expected = naive.customer(rows[owner[at]].text, END / 1e6 + later, str(candidates[at]), str(categories[at]))
        assert {name: float(values[at]) for name, values in closed.items()} == pytest.approx(
            expected, rel=1e-9, abs=1e-12, nan_ok=True
        )


@settings(max_examples=20, deadline=None)
@given(seed=seeds, size=st.integers(0, 60))
def test_rows_taken_by_index_close_as_rows_decoded_in_that_order(seed: int, size: int) -> None:
    chance = np.random.default_rng(seed)
    rows = list(advance(seed, size)[0].values())
    index = chance.integers(len(rows), size=9)
    now, owner, keys = np.full(9, END / 1e6), chance.integers(9, size=30), draw_keys(chance, 30)
    taken = columns.close(decode(rows).take(index), now, owner, keys)
    for name, values in columns.close(decode([rows[at] for at in index]), now, owner, keys).items():
        np.testing.assert_array_equal(values, taken[name], name)


def test_the_same_customer_may_be_asked_at_many_instants() -> None:
    row = advance(5, 60)[0]["bob"]
    now = END / 1e6 + np.arange(4, dtype=np.float64) * 3600.0
    keys = {"candidate": np.full(4, digest("p-1")), "category": np.full(4, digest("hats"))}
    together = columns.close(decode([row] * 4), now, np.arange(4), keys)
    for at in range(4):
        one = {name: values[:1] for name, values in keys.items()}
        alone = columns.close(decode([row]), now[at : at + 1], np.zeros(1, np.int64), one)
        assert {name: values[0] for name, values in alone.items()} == pytest.approx(
            {name: values[at] for name, values in together.items()}, rel=0, abs=0, nan_ok=True
        )


@pytest.mark.parametrize("view", LAYOUTS)
@pytest.mark.parametrize("size", [0, 1, 3])
def test_rows_without_events_close_as_the_naive_oracle_of_no_events(view: str, size: int) -> None:
    now, keys = np.full(size, END / 1e6), draw_keys(np.random.default_rng(1), 2 * size)
    owner = np.repeat(np.arange(size), 2)
    closed = columns.close(columns.decode_blank(LAYOUTS[view], size), now, owner, keys)
    again = columns.close(decode([blank(LAYOUTS[view], "new")] * size, view), now, owner, keys)
    naive = Oracle([])
    expected = {
        "customer": naive.customer("new", END / 1e6),
        "candidate": naive.candidate("new", END / 1e6),
        "successors": naive.successors("new", "new", END / 1e6),
    }[view]
    assert closed.keys() == expected.keys()
    for name, values in closed.items():
        np.testing.assert_array_equal(values, np.full(2 * size, expected[name]), name)
        np.testing.assert_array_equal(values, again[name], name)


def test_nothing_is_found_under_the_key_that_stands_for_nothing() -> None:
    row = advance(5, 60)[0]["bob"]
    keys = {"candidate": np.array([NOTHING]), "category": np.array([NOTHING])}
    closed = columns.close(decode([row]), np.array([END / 1e6]), np.zeros(1, np.int64), keys)
    assert all(closed[name][0] == 0 for name in KEYED if name.endswith(("_count", "_level")))


def test_more_owners_than_keys_can_tell_apart_are_refused() -> None:
    most = columns.MOST_OWNERS
    owner, keys = np.array([most - 1]), draw_keys(np.random.default_rng(1), 1)
    closed = columns.close(columns.decode_blank(CUSTOMER, most), np.zeros(most), owner, keys)
    assert all(len(values) == 1 for values in closed.values())
    more = columns.decode_blank(CUSTOMER, most + 1)
    assert len(columns.close(more, np.zeros(most + 1))["customer__any__recency"]) == most + 1
    with pytest.raises(ValueError, match=f"at most {most}"):
        columns.close(more, np.zeros(most + 1), owner, keys)


def test_the_last_of_the_most_owners_finds_its_own_keys() -> None:
    layout, owners = LAYOUTS["successors"], columns.MOST_OWNERS
    rows = [blank(layout, ""), *advance(5, 60)[1].successors.values()]
    key = max(rows[1].states[0].rows)  # type: ignore[union-attr]  # a table
    decoded = decode(rows[:2], "successors").take(np.array([0] * (owners - 1) + [1]))
    closed = columns.close(
        decoded, np.full(owners, END / 1e6), np.array([owners - 1, 0]), {"candidate": np.array([key, key])}
    )
    level = closed["successors__product_viewed__transition_30d_level"]
    assert level[0] > 0
    assert level[1] == 0


def test_derived_features_are_shares_of_what_is_closed() -> None:
    rows, candidates = advance(7, 60)
    pairs = [("bob", "p-1"), ("bob", "p-2"), ("cleo", "never seen")]
    now = END / 1e6
    keys = {
        "candidate": np.array([digest(candidate) for _, candidate in pairs]),
        "category": np.array([digest(PRODUCTS.get(candidate) or "") for _, candidate in pairs]),
    }
    customers = columns.close(decode([rows["bob"], rows["cleo"]]), np.full(2, now), np.array([0, 0, 1]), keys)
    offered = [candidates.candidate.get(digest(candidate), blank(LAYOUTS["candidate"], "")) for _, candidate in pairs]
    closed = {**customers, **columns.close(decode(offered, "candidate"), np.full(3, now))}
    total = columns.close(decode([candidates.candidate[TOTAL_ID]] * 3, "candidate"), np.full(3, now))
    derived = derive_candidates(closed, total)
    derived |= derive_pairs({**closed, **derived}, keys["category"])
    naive = Oracle(behave(7, 60, END))
    everything = naive.candidate("*", now)
    for at, (customer, candidate) in enumerate(pairs):
        own = naive.customer(customer, now, candidate, PRODUCTS.get(candidate) or "")
        popular = naive.candidate(candidate, now)
        bought, orders = (own[f"customer__order_completed__history_512_{name}"] for name in ("count", "total"))
        share = popular["candidate__order_completed__decayed_7d"] / everything["candidate__order_completed__decayed_7d"]
        assert derived["candidate__order_completed__share_7d"][at] == pytest.approx(share)
        rates = (popular[f"candidate__promotion__rate_{days}"] for days in ("1d", "30d"))
        assert derived["candidate__promotion__trend_1d_30d"][at] == pytest.approx(np.log(next(rates) / next(rates)))
        usual = popular["candidate__product_viewed__decayed_7d"] / 168 + 1
        trend = np.log((popular["candidate__product_viewed__decayed_1h"] + 1) / usual)
        assert derived["candidate__product_viewed__trend_1h_7d"][at] == pytest.approx(trend)
        assert derived["pair__order_completed__own_share"][at] == pytest.approx(bought / (orders + 1))
        assert derived["pair__order_completed__buy_again"][at] == pytest.approx((bought + 5 * share) / (orders + 5))


def viewed(times: list[float], now: float) -> dict[str, NDArray[np.float64]]:
    """Closed features of a candidate that was viewed at these times, and of nothing else."""
    layout = LAYOUTS["candidate"]
    row = blank(layout, "p-1")
    for aggregate, state in zip(layout.aggregates, row.states, strict=True):
        if "Product Viewed" in aggregate.events[0]:
            for time in times:
                aggregate.kind.update(state, time, 1.0, 0)  # type: ignore[arg-type]  # a state is of its kind
    return columns.close(decode([row], "candidate"), np.array([now]))


@pytest.mark.parametrize(
    ("views", "least", "most"),
    [
        ([], 0.0, 0.0),
        ([60.0 * minutes for minutes in range(0, 60 * 24 * 60, 5)], -0.05, 0.05),
        ([60.0 * minutes for minutes in range(60 * 24 * 60 - 5, 0, -5) if minutes > 120], -2.0, -0.7),
        ([60.0 * minutes for minutes in range(0, 60 * 24 * 60, 5)] + [10.0] * 50, 1.0, 2.0),
    ],
    ids=["nothing", "even", "fallen silent", "a rush"],
)
def test_a_trend_compares_the_last_hour_with_what_is_usual_for_the_candidate_itself(
    views: list[float], least: float, most: float
) -> None:
    now = END / 1e6
    closed = viewed(sorted(now - ago for ago in views), now)
    derived = derive_candidates(closed, closed)
    assert least <= derived["candidate__product_viewed__trend_1h_7d"][0] <= most
    assert derived["candidate__promotion__trend_1d_30d"][0] == 0.0
