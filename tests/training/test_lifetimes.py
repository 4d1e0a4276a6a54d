"""What the service takes for missing by its age, the training set lacks too."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from features import history
from features.lifetimes import LIFETIMES
from features.store import open_store
from tests.training.archives import visits
from training import logged
from training.dataset import Source

if TYPE_CHECKING:
    from features.home import Home
    from training.labels import Floats, Queries

OFFLINE = "redis://127.0.0.1:6379"
LIFETIME = LIFETIMES["customer"] // timedelta(microseconds=1)
FIRST_SEEN = "customer__any__first_seen"


def features_of(home: Home, queries: Queries) -> dict[str, Floats]:
    chunks = list(Source(home, open_store(home, OFFLINE)).read(queries))
    return {name: np.concatenate([chunk.features[name] for chunk in chunks]) for name in chunks[0].features}


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_customers_row_is_joined_to_the_last_microsecond_of_its_ttl_at_the_decision(home: Home, beyond: int) -> None:
    visits(home, count=60)
    history.rebuild(home)
    queries = logged.label(home)
    known = queries.customer_at > 0
    late = msgspec.structs.replace(
        queries, now=queries.customer_at + LIFETIME + beyond, inline={}, candidate_at=queries.customer_at * 0
    )
    seen = ~np.isnan(features_of(home, late)[FIRST_SEEN])
    assert known.any()
    assert seen.tolist() == [bool(known[of]) and not beyond for of in queries.owner.tolist()]


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_candidates_row_counts_by_its_last_event_and_not_by_the_snapshot_that_first_held_it(
    home: Home, beyond: int
) -> None:
    visits(home, count=60)
    history.rebuild(home)
    queries = logged.label(home)
    name = "candidate__any__first_seen"
    source = Source(home, open_store(home, OFFLINE))
    end = np.full(len(queries.owner), queries.now.max() + 86_400_000_000)
    latest = source._ask("candidate", _ids(queries), end, ["candidate:applied"])
    applied = latest["applied"].fill_null(0).to_numpy()
    of = int(np.flatnonzero(applied > 0)[-1])
    asked = _one(queries, of, int(applied[of]) + LIFETIME + beyond)
    assert bool(np.isnan(features_of(home, asked)[name][0])) == bool(beyond)


def _ids(queries: Queries):  # type: ignore[no-untyped-def]  # an Arrow array, untyped
    import pyarrow as pa

    return pa.array(queries.candidates).take(queries.candidate)


def _one(queries: Queries, row: int, at: int) -> Queries:
    """The query of one row, for that candidate alone, as of a snapshot taken at `at`."""
    owner = int(queries.owner[row])
    return msgspec.structs.replace(
        queries,
        customers=queries.customers[owner : owner + 1],
        now=np.array([at]),
        customer_at=np.array([0]),
        candidate_at=np.array([at]),
        hour=queries.hour[:1],
        weekday=queries.weekday[:1],
        device=queries.device[:1],
        referrer=queries.referrer[:1],
        placement=queries.placement[:1],
        inline={},
        owner=np.array([0]),
        candidate=queries.candidate[row : row + 1],
        rewarded=queries.rewarded[row : row + 1],
        popularity=queries.popularity[row : row + 1],
    )
