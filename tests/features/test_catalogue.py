"""Every kind of the catalogue through a layout of its own, declared for the service or not: packed, opened, closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.aggregates import columns, declared
from features.aggregates.aging import DAY, HOUR
from features.aggregates.declared import (
    ADDED,
    CLICKED_OF_SHOWN,
    EVERYTHING,
    KINDS,
    ORDERED,
    VIEWED,
    VIEWS,
    Aggregate,
    flaw,
)
from features.aggregates.keyed import Affinity, History, KeyedKind, Transition
from features.aggregates.kinds import Decayed, FirstSeen, Last, Mean, Rate, Recency
from features.aggregates.rows import Layout, Row, blank, lay_out, merge, pack, unpack
from features.aggregates.windows import Distinct, Sum, Window
from features.events.occurrences import Occurrence, read
from features.ids import digest
from tests.features.behaviour import PRODUCTS, PROMOTIONS, SECOND, behave
from tests.features.oracle import approximately, close_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

END = 1_760_000_000 * SECOND


def one(subject: str, events: tuple[tuple[str, ...], ...], kind: Any, **others: Any) -> Aggregate:
    return Aggregate(entity="customer", subject=subject, events=events, kind=kind, **others)


CATALOGUE = (
    one("viewed", VIEWED, Window(DAY, HOUR)),
    one("ordered", ORDERED, Sum(7 * DAY, DAY), value="revenue"),
    one("ordered", ORDERED, Sum(30 * DAY, DAY), value="items"),
    one("viewed", VIEWED, Distinct(3 * DAY), key="candidate"),
    one("any", EVERYTHING, Distinct(30 * DAY, bound=3), key="candidate"),
    one("viewed", VIEWED, Distinct(HOUR), key="category"),
    one("added", ADDED, Decayed(HOUR)),
    one("ordered", ORDERED, Decayed(30 * DAY), value="revenue"),
    one("ordered", ORDERED, Mean(30 * DAY), value="revenue"),
    one("viewed", VIEWED, Last(), value="candidate"),
    one("viewed", VIEWED, Last(), value="category"),
    one("any", EVERYTHING, FirstSeen()),
    one("ordered", ORDERED, Recency()),
    one("promotion", CLICKED_OF_SHOWN, Rate(DAY, prior=0.2, strength=3.0)),
    one("viewed", VIEWED, Affinity(HOUR), key="category"),
    one("viewed", VIEWED, Affinity(7 * DAY, strength=5.0), key="candidate"),
    one("any", EVERYTHING, History(), key="candidate"),
)
FOLLOWING = Aggregate(entity="successors", subject="viewed", events=VIEWED, kind=Transition(30 * DAY), key="candidate")
LAYOUTS = [
    lay_out("customer", CATALOGUE),
    lay_out("customer", CATALOGUE[::-1]),
    *[lay_out("customer", (aggregate,)) for aggregate in CATALOGUE],
    lay_out("successors", (FOLLOWING,)),
]
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda it: f"{len(it.aggregates)}_{it.aggregates[0].name}")

seeds = st.integers(0, 1 << 30)
sizes = st.integers(0, 40)
latencies = st.sampled_from([0.0, 60.0, 86_400.0, 86_400.0 * 3])


def take_in(layout: Layout, row: Row, seen: Occurrence) -> None:
    """Update every aggregate by an event as their declarations say."""
    for aggregate, state in zip(layout.aggregates, row.states, strict=True):
        ids = [item.id if "candidate" in (aggregate.key, aggregate.value) else item.category for item in seen.items]
        ids = [key for key in ids if key]
        kind: Any = aggregate.kind
        amounts = {"one": 1.0, "items": float(len(seen.items)), "revenue": seen.revenue}
        amount = amounts[aggregate.value] if aggregate.value in amounts else float(ids[-1]) if ids else None
        for part, names in enumerate(aggregate.events):
            if (seen.name not in names and "*" not in names) or amount is None or (aggregate.key and not ids):
                continue
            kind.update(state, seen.time, amount, tuple(ids) if isinstance(kind, KeyedKind) else part)


def occurrences(seed: int, size: int) -> list[Occurrence]:
    return [seen for event in behave(seed, size, END) if event.customer and (seen := read(event))]


def accumulate(layout: Layout, seen: list[Occurrence]) -> Row:
    row = blank(layout, "ann")
    for event in seen:
        take_in(layout, row, event)
    return row


def draw_keys(seed: int, count: int) -> dict[str, NDArray[np.int64]]:
    chance = np.random.default_rng(seed)
    texts = {"candidate": [*PRODUCTS, *PROMOTIONS, "never seen"], "category": ["shoes", "hats", "coats", "none"]}
    return {name: np.array([digest(str(text)) for text in chance.choice(them, count)]) for name, them in texts.items()}


def assert_closed(layout: Layout, row: Row, seen: list[Occurrence], now: float, seed: int) -> None:
    """The row, once packed, closes to what the naive oracle says of the events."""
    keys = draw_keys(seed, 5)
    closed = columns.close(columns.decode_rows(layout, [pack(row)]), np.array([now]), np.zeros(5, np.int64), keys)
    for at in range(5):
        mine = {name: int(values[at]) for name, values in keys.items()}
        expected = close_all(layout.aggregates, seen, now, mine)
        assert {name: float(values[at]) for name, values in closed.items()} == approximately(expected)


def test_the_layouts_here_hold_every_kind_of_the_catalogue_and_only_sound_declarations() -> None:
    assert {type(aggregate.kind) for layout in LAYOUTS for aggregate in layout.aggregates} == set(KINDS.values())
    assert [flaw(aggregate) for aggregate in CATALOGUE] == [None] * len(CATALOGUE)
    assert len({aggregate.name for aggregate in CATALOGUE}) == len(CATALOGUE)


@each_layout
@settings(max_examples=15, deadline=None)
@given(seed=seeds, size=sizes, later=latencies)
def test_a_layout_closes_to_the_naive_oracles_values(layout: Layout, seed: int, size: int, later: float) -> None:
    seen = occurrences(seed, size)
    assert_closed(layout, accumulate(layout, seen), seen, END / 1e6 + later, seed)


@each_layout
@settings(max_examples=10, deadline=None)
@given(seed=seeds, size=sizes)
def test_a_layouts_row_comes_back_from_its_packed_lists_and_goes_on_from_them(
    layout: Layout, seed: int, size: int
) -> None:
    row = blank(layout, "ann")
    undisturbed = blank(layout, "ann")
    for seen in occurrences(seed, size):
        take_in(layout, row, seen)
        take_in(layout, undisturbed, seen)
        row = unpack(layout, "ann", 0, *pack(row))
        assert row == undisturbed


@each_layout
@settings(max_examples=10, deadline=None)
@given(seed=seeds, size=sizes)
def test_all_states_of_a_history_closed_at_once_are_those_closed_one_by_one_as_they_were_served(
    layout: Layout, seed: int, size: int
) -> None:
    row = blank(layout, "ann")
    history, times = [pack(row)], [END / 1e6]
    for seen in occurrences(seed, size):
        take_in(layout, row, seen)
        numbers, ids = pack(row)
        history.append((list(numbers), list(ids)))
        times.append(seen.time)
    now, count = np.array(times), len(times)
    owner, keys = np.arange(count).repeat(3), draw_keys(seed, 3 * count)
    together = columns.close(columns.decode_rows(layout, history), now, owner, keys)
    for at, packed in enumerate(history):
        mine = {name: values[3 * at : 3 * at + 3] for name, values in keys.items()}
        decoded = columns.decode_rows(layout, [packed])
        for name, values in columns.close(decoded, now[at : at + 1], np.zeros(3, np.int64), mine).items():
            np.testing.assert_array_equal(values, together[name][3 * at : 3 * at + 3], name)


@each_layout
@settings(max_examples=10, deadline=None)
@given(seed=seeds, size=sizes, split=sizes, later=latencies)
def test_two_rows_merge_into_that_of_all_events(layout: Layout, seed: int, size: int, split: int, later: float) -> None:
    seen = occurrences(seed, size)
    a, b = accumulate(layout, seen[:split]), accumulate(layout, seen[split:])
    now, keys = END / 1e6 + later, draw_keys(seed, 5)
    rows = [pack(row) for row in (merge(layout, a, b), merge(layout, b, a), accumulate(layout, seen))]
    both, reverse, whole = (
        columns.close(columns.decode_rows(layout, [row]), np.array([now]), np.zeros(5, np.int64), keys) for row in rows
    )
    times = [one.time for one in seen]
    for name, values in whole.items():
        np.testing.assert_array_equal(both[name], reverse[name], name)
        if name.endswith("_since"):  # too low by at most the other row's events
            assert not (both[name] > values).any()
            np.testing.assert_array_equal(np.isnan(both[name]), np.isnan(values), name)
        elif not (name.endswith("last") and len(set(times)) < len(times)):
            np.testing.assert_allclose(both[name], values, rtol=1e-9, atol=1e-12, err_msg=name)


def test_every_declaration_is_sound() -> None:
    assert [flaw(aggregate) for aggregates in VIEWS.values() for aggregate in aggregates if flaw(aggregate)] == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": Decayed(0.0)}, "half_life must be a positive number, and is 0.0"),
        ({"kind": Decayed(float("nan"))}, "half_life must be a positive number"),
        ({"kind": Window(HOUR, DAY)}, "hop must not be longer"),
        ({"kind": Rate(DAY)}, "rate takes 2 group"),
        ({"events": ((),)}, "decayed takes 1 group"),
        ({"value": "category"}, "the value of decayed is one of one, items, revenue, and not category"),
        ({"kind": Window(DAY, HOUR), "value": "revenue"}, "the value of count is one of one, and not revenue"),
        ({"kind": Sum(DAY, HOUR)}, "the value of sum is one of items, revenue, and not one"),
        ({"kind": Affinity(DAY)}, "affinity needs a key"),
        ({"key": "candidate"}, "decayed takes no key"),
        ({"kind": Transition(DAY), "key": "candidate"}, "transition cannot be kept on customer"),
        ({"entity": "successors"}, "decayed cannot be kept on successors"),
        ({"entity": "candidate", "kind": Distinct(DAY), "key": "category"}, "a candidate's aggregates take no key"),
        ({"entity": "candidate", "value": "revenue"}, "a candidate's aggregates take no key, and no other value"),
        (
            {"entity": "successors", "kind": Transition(DAY), "key": "candidate", "events": ADDED},
            "transition is keyed by candidate, and its events are those of",
        ),
    ],
)
def test_a_declaration_that_nothing_could_fill_says_so(changes: dict[str, Any], reason: str) -> None:
    sound = Aggregate(entity="customer", subject="viewed", events=VIEWED, kind=Decayed(DAY))
    assert flaw(sound) is None
    assert (flaw(msgspec.structs.replace(sound, **changes)) or "").startswith(reason)


def test_a_declaration_comes_before_the_layouts_or_not_at_all() -> None:
    with pytest.raises(RuntimeError, match="the layouts are made already"):
        declared.extend(one("viewed", VIEWED, Decayed(DAY)))
