"""A hole of days in the history, as an outage of the collection leaves one: told, and learnt across."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from features import history
from features.settings import Settings
from features.store import open_store
from tests.training.archives import DAY, SECOND, START, order_history, publish, write
from tests.training.quiet import Quiet
from training import bootstrap, fit, labels, learning, preparation
from training.dataset import Source
from training.labels import TrainingError
from training.options import Options
from training.split import Dates, split

if TYPE_CHECKING:
    from features.home import Home

FIRST, BEHIND = 30, 45
"""Days of which nothing was kept."""


def broken_history(home: Home) -> None:
    """60 days of orders without those of the hole."""
    kept = [it for it in order_history(home) if not FIRST <= (it.received - START) // DAY < BEHIND]
    shutil.rmtree(home.events)
    write(home, [*kept, publish(START + 60 * DAY)])


def day_of(number: int) -> date:
    return datetime.fromtimestamp((START + number * DAY) / SECOND, UTC).date()


def label(home: Home, window_days: int) -> labels.Queries:
    rewards = bootstrap.read_rewards(home, "Order Completed")
    return bootstrap.label(home, "Order Completed", rewards, bootstrap.Options(candidates=20, window_days=window_days))


def test_a_model_is_made_across_a_hole_which_is_told(home: Home) -> None:
    broken_history(home)
    settings, stages = Settings(home=home), Quiet()
    asked = Options(fit=fit.Options(trees=30, learning_rate=0.1))
    labelled = preparation.label(settings, asked, stages)
    told = f"a hole of 16 days in the history: no labels between {day_of(FIRST - 1)} and {day_of(BEHIND)}"
    assert told in stages.said
    history.rebuild(home)
    learnt = learning.learn(settings, asked, labelled, stages, open_store(home, preparation.OFFLINE), None, None)
    assert learnt.fitted.booster.num_trees() > 5


def test_features_age_over_the_hole_by_the_clock(home: Home) -> None:
    broken_history(home)
    queries = label(home, window_days=60)
    history.rebuild(home)
    recency = np.concatenate(
        [
            it.features["customer__any__recency"]
            for it in Source(home, open_store(home, "redis://127.0.0.1:6379")).read(queries)
        ]
    )[queries.row_starts[:-1]]
    day = (queries.now - START) // DAY
    first_again = day == BEHIND
    assert (recency[first_again & ~np.isnan(recency)] > (BEHIND - FIRST - 1) * 86_400.0).all()
    last: dict[str, int] = {}
    for at, customer in enumerate(queries.customers):
        if customer in last:
            apart = (queries.now[at] - last[customer]) / SECOND
            assert recency[at] == pytest.approx(apart, abs=1e-3)
        last[customer] = int(queries.now[at])


def test_after_a_hole_longer_than_the_window_a_day_without_candidates_asks_nothing(home: Home) -> None:
    broken_history(home)
    days = set(((label(home, window_days=10).now - START) // DAY).tolist())
    assert BEHIND not in days
    assert {FIRST - 1, BEHIND + 1} <= days


def test_a_part_that_lies_in_the_hole_is_refused(home: Home) -> None:
    broken_history(home)
    dates = Dates(train_from=day_of(10), validation_from=day_of(FIRST + 2), test_from=day_of(BEHIND - 2))
    with pytest.raises(TrainingError, match="no queries to validation on"):
        split(label(home, window_days=60), dates)


def test_a_steady_history_has_no_hole(home: Home) -> None:
    order_history(home, days=20)
    assert labels.tell_hole(label(home, window_days=60).now) == ""
    assert labels.tell_hole(np.zeros(1, np.int64)) == ""
    sparse = np.arange(20) * 7 * DAY
    assert labels.tell_hole(sparse) == ""
