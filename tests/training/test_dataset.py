"""The training set holds what serving saw, and nothing that came later."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from features import history
from features.store import open_store
from models.signature import fillable
from tests.training.archives import DAY, PRODUCTS, START, order_history, publish, visits, write
from training import bootstrap, logged
from training.bootstrap import Options
from training.dataset import Source
from training.labels import TrainingError

if TYPE_CHECKING:
    from features.home import Home
    from training.labels import Floats, Queries

OFFLINE = "redis://127.0.0.1:6379"
COUNT = "customer__order_completed__history_512_count"
TOTAL = "customer__order_completed__history_512_total"


def features_of(home: Home, queries: Queries, **rows: int) -> dict[str, Floats]:
    if not history.is_current(home):
        history.rebuild(home)
    chunks = list(Source(home, open_store(home, OFFLINE), **rows).read(queries))
    assert [chunk.rows.start for chunk in chunks] == [0, *(chunk.rows.stop for chunk in chunks[:-1])]
    return {name: np.concatenate([chunk.features[name] for chunk in chunks]) for name in chunks[0].features}


def label(home: Home) -> Queries:
    rewards = bootstrap.read_rewards(home, "Order Completed")
    return bootstrap.label(home, "Order Completed", rewards, Options(candidates=20))


def test_logged_decisions_get_the_features_that_they_were_served_with(home: Home) -> None:
    shop = visits(home)
    queries = logged.label(home)
    assert len(queries) == len(shop.remembered)
    assert queries.inline
    joined = features_of(home, queries)
    assert joined.keys() == fillable().keys()
    for name, values in joined.items():
        served = np.concatenate([remembered.features[name] for remembered in shop.remembered])
        assert values == pytest.approx(served, rel=1e-6, abs=1e-6, nan_ok=True), name


def test_small_chunks_make_the_same_rows(home: Home) -> None:
    visits(home, count=60)
    queries = logged.label(home)
    whole = features_of(home, queries)
    parts = features_of(home, queries, rows_a_join=40, rows_a_chunk=10)
    for name, values in whole.items():
        assert np.array_equal(parts[name], values, equal_nan=True), name


def test_a_query_with_too_many_candidates_is_refused(home: Home) -> None:
    order_history(home, days=5)
    with pytest.raises(TrainingError, match="a query has 20 candidates, at most 10 fit"):
        features_of(home, label(home), rows_a_chunk=10)


def test_features_count_what_was_strictly_before_the_event(home: Home) -> None:
    events = order_history(home, days=25)
    queries = label(home)
    joined = features_of(home, queries)
    for row in range(0, len(queries.owner), 37):
        query = int(queries.owner[row])
        name = queries.candidates[int(queries.candidate[row])]
        mine = [
            {product["product_id"] for product in event.properties["products"]}
            for event in events
            if event.customer == queries.customers[query] and event.received <= queries.now[query]
        ]
        assert joined[TOTAL][row] == len(mine)
        assert joined[COUNT][row] == sum(name in basket for basket in mine)


def test_nothing_that_comes_later_changes_a_feature(home: Home) -> None:
    events = order_history(home, days=25)
    full = label(home)
    joined = features_of(home, full)
    middle = START + 15 * DAY + DAY // 2
    shutil.rmtree(home.events)
    write(home, [*(event for event in events if event.received < middle), publish(START + 25 * DAY)])
    cut = label(home)
    early = full.select(full.now < middle - 1)
    assert np.array_equal(cut.now, early.now)
    assert [cut.candidates[at] for at in cut.candidate] == [early.candidates[at] for at in early.candidate]
    rows = len(early.owner)
    for name, values in features_of(home, cut).items():
        assert np.array_equal(values, joined[name][:rows], equal_nan=True), name


def test_attributes_are_the_catalogs(home: Home) -> None:
    order_history(home, days=10)
    queries = label(home)
    prices = features_of(home, queries)["candidate__price"]
    expected = [5.0 + PRODUCTS.index(queries.candidates[at]) for at in queries.candidate]
    assert prices == pytest.approx(expected)
