"""Labels from orders and views."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.training.archives import DAY, MINUTE, PRODUCTS, START, order_history, product, publish, track, write
from training import bootstrap
from training.bootstrap import Options
from training.labels import TrainingError

if TYPE_CHECKING:
    from features.events.schema import Event, Track
    from features.home import Home
    from training.labels import Queries

ORDERED, VIEWED = "Order Completed", "Product Viewed"


def label(home: Home, reward: str = ORDERED, options: Options | None = None) -> Queries:
    return bootstrap.label(home, reward, bootstrap.read_rewards(home, reward), options or Options())


def basket(event: Track) -> list[str]:
    return [each["product_id"] for each in event.properties["products"]]


def rows_of(queries: Queries, query: int) -> dict[str, bool]:
    rows = np.flatnonzero(queries.owner == query)
    names = [queries.candidates[at] for at in queries.candidate[rows].tolist()]
    return dict(zip(names, queries.rewarded[rows].tolist(), strict=True))


def test_candidates_are_the_most_popular_of_the_days_before_and_the_basket_is_rewarded(home: Home) -> None:
    events = order_history(home, days=30)
    queries = label(home, options=Options(candidates=12, window_days=10))
    expected = [event for event in sorted(events, key=lambda event: event.time) if event.time // DAY > START // DAY]
    assert queries.customers == [event.customer for event in expected]
    assert queries.now.tolist() == [event.received - 1 for event in expected]
    for query, event in enumerate(expected):
        day = event.time // DAY
        before = [other for other in events if day - 10 <= other.time // DAY < day]
        counts = Counter(name for other in before for name in basket(other))
        chosen = rows_of(queries, query)
        assert len(chosen) == 12
        assert min(counts[name] for name in chosen) >= max(counts[name] for name in counts.keys() - chosen.keys())
        assert {name for name, rewarded in chosen.items() if rewarded} == chosen.keys() & set(basket(event))
        shares = queries.popularity[queries.owner == query]
        assert shares == pytest.approx([counts[name] / len(before) for name in chosen])


def test_a_small_shop_has_all_its_items_as_candidates(home: Home) -> None:
    order_history(home, days=10)
    queries = label(home)
    assert len(queries.candidates) == len(PRODUCTS)
    assert len(queries.owner) == len(queries) * len(PRODUCTS)


def test_a_query_stands_before_its_own_event_and_is_closed_there(home: Home) -> None:
    order_history(home, days=10)
    queries = label(home)
    assert np.array_equal(queries.now, queries.customer_at)
    assert np.array_equal(queries.now, queries.candidate_at)


def test_at_most_so_many_queries_a_day_are_drawn_by_the_seed(home: Home) -> None:
    order_history(home, days=20)
    drawn = [label(home, options=Options(queries_per_day=5, seed=seed)) for seed in (0, 0, 1)]
    assert np.unique(drawn[0].now // DAY, return_counts=True)[1].max() == 5
    assert np.array_equal(drawn[0].now, drawn[1].now)
    assert not np.array_equal(drawn[0].now, drawn[2].now)


@pytest.mark.parametrize("most", [1, 7, 20, 55, 100])
def test_the_highest_number_a_day_that_keeps_within_a_total(most: int) -> None:
    counts = [1, 4, 10, 40]
    day = np.repeat(np.arange(4), counts)
    number = bootstrap._most_a_day(day, most)
    kept = sum(min(count, number) for count in counts)
    assert kept <= max(most, 4)
    assert number == 40 or sum(min(count, number + 1) for count in counts) > most


def test_a_page_view_is_a_query_when_an_earlier_one_is_in_its_session(home: Home) -> None:
    def view(customer: str, at: int, number: int) -> Track:
        return track(customer, at, VIEWED, product(number))

    begin = START + DAY
    events: list[Event] = [view("early", START, number) for number in (0,)]
    events += [view("a", begin, 1), view("a", begin + MINUTE, 2), view("a", begin + 2 * MINUTE, 0)]
    events += [view("b", begin + 3 * MINUTE, 3), view("b", begin + 50 * MINUTE, 4)]
    write(home, [*events, publish(begin + DAY)])
    queries = label(home, VIEWED)
    assert queries.customers == ["a", "a"]
    assert [rows_of(queries, query) for query in (0, 1)] == [
        {PRODUCTS[number]: number == viewed for number in range(5)} for viewed in (2, 0)
    ]


def test_events_without_a_past_are_nothing_to_learn_from(home: Home) -> None:
    order_history(home, days=1)
    with pytest.raises(TrainingError, match="no 'Order Completed' events to learn from"):
        label(home)


def test_selected_queries_keep_their_rows(home: Home) -> None:
    order_history(home, days=15)
    queries = label(home)
    keep = np.arange(len(queries)) % 3 == 0
    chosen = queries.select(keep)
    assert chosen.customers == queries.customers[::3]
    assert [rows_of(chosen, query) for query in range(len(chosen))] == [
        rows_of(queries, query) for query in np.flatnonzero(keep).tolist()
    ]
    assert chosen.row_starts[-1] == len(chosen.owner)
