"""Train, validation and test by time."""

from __future__ import annotations

from datetime import UTC, date, datetime

import msgspec
import numpy as np
import pytest

from tests.training.archives import DAY, START
from tests.training.test_intervals import make_queries
from training.labels import Queries, TrainingError
from training.split import Dates, Split, split

DAYS = 100


def spread(kind: str = "bootstrap") -> Queries:
    """A query every few hours of 100 days."""
    queries = make_queries()
    now = START + np.linspace(0, DAYS * DAY, len(queries)).astype(np.int64)
    return msgspec.structs.replace(queries, now=now, kind=kind)


def day(number: int) -> date:
    return datetime.fromtimestamp((START + number * DAY) / 1e6, UTC).date()


def gaps(queries: Queries, parts: Split) -> tuple[int, int]:
    train, validation, test = (queries.now[part] for part in (parts.train, parts.validation, parts.test))
    return int(validation.min() - train.max()), int(test.min() - validation.max())


def test_parts_follow_each_other_with_a_gap() -> None:
    queries = spread()
    parts = split(queries, Dates())
    assert min(gaps(queries, parts)) >= parts.window.gap > 0
    shares = [part.mean() for part in (parts.train, parts.validation, parts.test)]
    assert shares == pytest.approx([0.56, 0.1, 0.14], abs=0.02)


def test_bootstrap_labels_leave_the_first_days_for_the_past_to_build_up() -> None:
    assert not split(spread(), Dates()).train[:60].any()
    assert split(spread("logged"), Dates()).train[0]


def test_dates_are_taken_as_they_stand() -> None:
    queries = spread()
    parts = split(queries, Dates(train_from=day(10), validation_from=day(50), test_from=day(70), test_until=day(90)))
    of = (queries.now - START) // DAY
    assert set(of[parts.test]) == set(range(70, 90))
    assert of[parts.train].min() == 10
    assert of[parts.validation].min() == 50
    assert parts.window.days == ("2023-11-25T00:00:00+00:00", "2024-01-03T12:00:00+00:00")


@pytest.mark.parametrize(
    ("dates", "problem"),
    [
        (Dates(validation_from=day(50), test_from=day(40)), "out of order"),
        (Dates(train_from=day(200)), "too few to split"),
        (
            Dates(train_from=day(10), validation_from=day(20), test_from=day(100), test_until=day(101)),
            "no queries to test",
        ),
    ],
)
def test_dates_that_leave_a_part_empty_are_refused(dates: Dates, problem: str) -> None:
    queries = spread()
    queries = queries.select(queries.now < START + 99 * DAY)
    with pytest.raises(TrainingError, match=problem):
        split(queries, dates)
