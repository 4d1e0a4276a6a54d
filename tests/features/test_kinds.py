"""Each kind of aggregate against the plain list of its events, and merging as an algebra."""

from __future__ import annotations

import doctest
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import ids
from features.aggregates import aging, declared, keyed, kinds, windows
from features.aggregates.aging import DAY, HOUR
from features.aggregates.keyed import Affinity, History, KeyedKind, Table, Transition
from features.aggregates.kinds import Decayed, FirstSeen, Kind, Last, Mean, Rate, Recency

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

START = 1_750_000_000.0
NAN = math.nan

Event = tuple[float, float, int]
"""Time, amount, and which group of a declaration's events it belongs to."""
KeyedEvent = tuple[float, tuple[int, ...]]

moments = st.integers(0, 40 * 24 * 60).map(lambda minutes: START + 60.0 * minutes + 0.5)
# Each moment once: of two events at one moment, which is the latest depends on their order.
events = st.lists(
    st.tuples(moments, st.floats(0, 1000), st.integers(0, 1)), max_size=30, unique_by=lambda event: event[0]
)
keys = st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True).map(tuple)
keyed_events = st.lists(st.tuples(moments, keys), max_size=30, unique_by=lambda event: event[0])
latencies = st.sampled_from([0.0, 1.0, 59.0, 3600.0, 86_400.0 * 9])


def decayed(seen: Sequence[tuple[float, float]], now: float, half_life: float) -> float:
    return math.fsum(amount * 0.5 ** ((now - time) / half_life) for time, amount in seen)


def naive_decayed(kind: Decayed, seen: list[Event], now: float) -> float:
    return decayed([(time, amount) for time, amount, _ in seen], now, kind.half_life)


def naive_mean(kind: Mean, seen: list[Event], now: float) -> float:
    count = decayed([(time, 1.0) for time, _, _ in seen], now, kind.half_life)
    return decayed([(time, amount) for time, amount, _ in seen], now, kind.half_life) / count if seen else NAN


def naive_rate(kind: Rate, seen: list[Event], now: float) -> float:
    hits = decayed([(time, amount) for time, amount, group in seen if group == 0], now, kind.half_life)
    tries = decayed([(time, amount) for time, amount, group in seen if group == 1], now, kind.half_life)
    return (hits + kind.strength * kind.prior) / (tries + kind.strength)


def naive_recency(_: Recency, seen: list[Event], now: float) -> float:
    return min((now - time for time, _, _ in seen), default=NAN)


def naive_first_seen(_: FirstSeen, seen: list[Event], now: float) -> float:
    return max((now - time for time, _, _ in seen), default=NAN)


def naive_last(_: Last, seen: list[Event], _now: float) -> float:
    return max(seen)[1] if seen else 0.0


ORACLES: list[tuple[Kind, Callable[..., float]]] = [
    (Decayed(HOUR), naive_decayed),
    (Decayed(30 * DAY), naive_decayed),
    (Mean(7 * DAY), naive_mean),
    (Rate(DAY), naive_rate),
    (Rate(30 * DAY, prior=0.2, strength=3.0), naive_rate),
    (Recency(), naive_recency),
    (FirstSeen(), naive_first_seen),
    (Last(), naive_last),
]
each_kind = pytest.mark.parametrize(("kind", "naive"), ORACLES, ids=lambda value: getattr(value, "slug", ""))


def accumulate(kind: Kind, seen: list[Event]) -> list[float]:
    state = kind.empty()
    for time, amount, group in seen:
        kind.update(state, time, amount, group)
    return state


def close(kind: Kind, state: list[float], now: float) -> float:
    [closed] = kind.close(np.array([state]), np.array([now]))
    return float(closed[0])


def after(seen: Sequence[Event] | Sequence[KeyedEvent], latency: float) -> float:
    """An instant `latency` behind the last event."""
    return max((event[0] for event in seen), default=START) + latency


@each_kind
@settings(max_examples=60, deadline=None)
@given(seen=events, latency=latencies)
def test_a_kind_closes_to_what_the_plain_list_of_events_says_in_any_order(
    kind: Kind, naive: Callable[..., float], seen: list[Event], latency: float
) -> None:
    now = after(seen, latency)
    expected = pytest.approx(naive(kind, seen, now), rel=1e-9, abs=1e-12, nan_ok=True)
    assert close(kind, accumulate(kind, seen), now) == expected
    assert close(kind, accumulate(kind, sorted(seen)), now) == expected


@each_kind
@settings(max_examples=40, deadline=None)
@given(seen=events, split=st.integers(0, 30), latency=latencies)
def test_merging_two_states_commutes_and_is_the_state_of_both_lists(
    kind: Kind, naive: Callable[..., float], seen: list[Event], split: int, latency: float
) -> None:
    now = after(seen, latency)
    a, b = accumulate(kind, seen[:split]), accumulate(kind, seen[split:])
    merged = kind.merge(a, b)
    assert merged == kind.merge(b, a)
    assert close(kind, merged, now) == pytest.approx(naive(kind, seen, now), rel=1e-9, abs=1e-12, nan_ok=True)
    assert kind.merge(a, kind.empty()) == a


@each_kind
@settings(max_examples=40, deadline=None)
@given(seen=events, splits=st.tuples(st.integers(0, 30), st.integers(0, 30)), latency=latencies)
def test_merging_three_states_gives_the_same_whichever_pair_is_first(
    kind: Kind, naive: Callable[..., float], seen: list[Event], splits: tuple[int, int], latency: float
) -> None:
    low, high = sorted(splits)
    a, b, c = (accumulate(kind, part) for part in (seen[:low], seen[low:high], seen[high:]))
    now = after(seen, latency)
    expected = pytest.approx(naive(kind, seen, now), rel=1e-9, abs=1e-12, nan_ok=True)
    assert close(kind, kind.merge(kind.merge(a, b), c), now) == expected
    assert close(kind, kind.merge(a, kind.merge(b, c)), now) == expected


@pytest.mark.parametrize("kind", [Recency(), FirstSeen()], ids=lambda kind: kind.slug)
def test_an_event_from_before_the_epoch_is_an_old_one_and_spoils_nothing(kind: Kind) -> None:
    assert close(kind, accumulate(kind, [(-3e9, 1.0, 0)]), START) == pytest.approx(START)
    seen = accumulate(kind, [(-3e9, 1.0, 0), (START, 1.0, 0)])
    assert close(kind, seen, START + 5.0) == pytest.approx(5.0 if isinstance(kind, Recency) else START + 5.0)


@pytest.mark.parametrize("kind", [kind for kind, _ in ORACLES], ids=lambda kind: kind.slug)
def test_a_state_newer_than_the_instant_is_closed_without_growing(kind: Kind) -> None:
    state = accumulate(kind, [(START, 1.0, 0), (START, 1.0, 1)])
    assert close(kind, state, START - DAY) == close(kind, state, START)


def naive_affinity(kind: Affinity, seen: list[KeyedEvent], key: int, now: float) -> tuple[float, ...]:
    level = decayed([(time, 1.0) for time, named in seen if key in named], now, kind.half_life)
    total = decayed([(time, 1.0) for time, named in seen for _ in named], now, kind.half_life)
    return level, level / (total + kind.strength)


def naive_history(_: History, seen: list[KeyedEvent], key: int, now: float) -> tuple[float, ...]:
    places = [place for place, (_, named) in enumerate(seen, 1) if key in named]
    recency = min((now - time for time, named in seen if key in named), default=NAN)
    return len(places), len(seen), recency, len(seen) - places[-1] if places else NAN


KEYED_ORACLES: list[tuple[KeyedKind, Callable[..., tuple[float, ...]]]] = [
    (Affinity(HOUR), naive_affinity),
    (Affinity(30 * DAY, strength=5.0), naive_affinity),
    (Transition(DAY), naive_affinity),
    (History(16), naive_history),
]
each_keyed_kind = pytest.mark.parametrize(
    ("kind", "naive"), KEYED_ORACLES, ids=lambda value: getattr(value, "slug", "")
)


def accumulate_keyed(kind: KeyedKind, seen: list[KeyedEvent]) -> Table:
    state = kind.empty()
    for time, named in seen:
        kind.update(state, time, 1.0, named)
    return state


def close_key(kind: KeyedKind, state: Table, key: int, now: float) -> tuple[float, ...]:
    row = state.rows.get(key, [0.0] * kind.columns)
    return tuple(float(value[0]) for value in kind.close(np.array([state.head]), np.array([row]), np.array([now])))


@each_keyed_kind
@settings(max_examples=60, deadline=None)
@given(seen=keyed_events, latency=latencies)
def test_a_keyed_kind_closes_each_key_to_what_the_plain_list_of_events_says(
    kind: KeyedKind, naive: Callable[..., tuple[float, ...]], seen: list[KeyedEvent], latency: float
) -> None:
    now = after(seen, latency)
    state = accumulate_keyed(kind, seen)
    for key in range(1, 11):
        expected = naive(kind, seen, key, now)
        assert close_key(kind, state, key, now) == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


@each_keyed_kind
@settings(max_examples=40, deadline=None)
@given(seen=keyed_events, split=st.integers(0, 30), latency=latencies)
def test_merging_two_tables_commutes_and_is_the_table_of_both_lists(
    kind: KeyedKind, naive: Callable[..., tuple[float, ...]], seen: list[KeyedEvent], split: int, latency: float
) -> None:
    now = after(seen, latency)
    a, b = accumulate_keyed(kind, seen[:split]), accumulate_keyed(kind, seen[split:])
    merged = kind.merge(a, b)
    assert merged == kind.merge(b, a)
    assert kind.merge(a, kind.empty()) == a
    for key in range(1, 11):
        closed, expected = close_key(kind, merged, key, now), naive(kind, seen, key, now)
        exact = 3 if isinstance(kind, History) else 2
        assert closed[:exact] == pytest.approx(expected[:exact], rel=1e-9, abs=1e-12, nan_ok=True)
        if isinstance(kind, History) and not math.isnan(expected[3]):
            # Two tables do not say how their events interleaved: "events since" is too low by at most the other's.
            assert expected[3] - max(a.head[0], b.head[0]) <= closed[3] <= expected[3]


@pytest.mark.parametrize("kind", [kind for kind, _ in KEYED_ORACLES], ids=lambda kind: kind.slug)
@settings(max_examples=40, deadline=None)
@given(seen=keyed_events, splits=st.tuples(st.integers(0, 30), st.integers(0, 30)), latency=latencies)
def test_merging_three_tables_gives_the_same_whichever_pair_is_first(
    kind: KeyedKind, seen: list[KeyedEvent], splits: tuple[int, int], latency: float
) -> None:
    low, high = sorted(splits)
    a, b, c = (accumulate_keyed(kind, part) for part in (seen[:low], seen[low:high], seen[high:]))
    first, last = kind.merge(kind.merge(a, b), c), kind.merge(a, kind.merge(b, c))
    now = after(seen, latency)
    for key in range(1, 11):
        expected = pytest.approx(close_key(kind, last, key, now), rel=1e-9, abs=1e-12, nan_ok=True)
        assert close_key(kind, first, key, now) == expected


@pytest.mark.parametrize("kind", [Affinity(HOUR, bound=3), Transition(DAY, bound=3), History(3)], ids=lambda k: k.slug)
@settings(max_examples=60, deadline=None)
@given(seen=keyed_events, split=st.integers(0, 30))
def test_a_full_table_keeps_its_bound_its_totals_and_never_more_than_what_happened(
    kind: KeyedKind, seen: list[KeyedEvent], split: int
) -> None:
    now = after(seen, 1.0)
    unbounded: KeyedKind = History(16) if isinstance(kind, History) else Affinity(kind.half_life)  # type: ignore[attr-defined]  # of Affinity
    exact = accumulate_keyed(unbounded, seen)
    merged = kind.merge(accumulate_keyed(kind, seen[:split]), accumulate_keyed(kind, seen[split:]))
    for state in (accumulate_keyed(kind, seen), merged):
        assert len(state.rows) <= 3
        assert state.head == pytest.approx(exact.head)
        for key in state.rows:
            assert close_key(kind, state, key, now)[0] <= close_key(unbounded, exact, key, now)[0] * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(seen=keyed_events)
def test_a_full_history_keeps_the_candidates_seen_last(seen: list[KeyedEvent]) -> None:
    seen = sorted((time, named[:1]) for time, named in seen)
    latest = list(dict.fromkeys(named[0] for _, named in reversed(seen)))
    assert set(accumulate_keyed(History(3), seen).rows) == set(latest[:3])


@settings(max_examples=60, deadline=None)
@given(seen=keyed_events)
def test_a_full_affinity_keeps_a_new_favourite_and_drops_the_weakest(seen: list[KeyedEvent]) -> None:
    kind = Affinity(DAY, bound=3)
    state = accumulate_keyed(kind, sorted(seen))
    now = after(seen, 1.0)
    before = {key: close_key(kind, state, key, now)[0] for key in state.rows}
    kind.update(state, now, 1.0, (99,))
    assert 99 in state.rows
    dropped = before.keys() - state.rows.keys()
    if len(before) == 3:
        assert [before[key] for key in dropped] == [pytest.approx(min(before.values()), rel=1e-9)]
    else:
        assert not dropped


def test_durations_are_named_by_their_largest_whole_unit() -> None:
    assert [aging.span(seconds) for seconds in (DAY, 90 * 60.0, 3 * HOUR, 30.0, 0.5)] == [
        "1d",
        "90m",
        "3h",
        "30s",
        "0.5s",
    ]


@pytest.mark.parametrize("module", [ids, aging, kinds, keyed, windows], ids=lambda module: module.__name__)
def test_the_examples_in_the_documentation_are_true(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed


def leaves(kind: type) -> list[type]:
    """The classes that nothing is derived from, or that are declared themselves."""
    children: list[type] = type.__subclasses__(kind)
    found = [leaf for child in children for leaf in leaves(child)]
    return [*found, kind] if kind in declared.KINDS.values() or not children else found


def test_every_kind_is_in_the_catalogue_by_the_word_that_its_names_begin_with_and_shows_an_example() -> None:
    assert {*leaves(Kind), *leaves(KeyedKind)} == set(declared.KINDS.values())
    for word, kind in declared.KINDS.items():
        parameters = {name: 1.0 for name in ("half_life", "length", "hop") if name in kind.__struct_fields__}
        assert kind(**parameters).slug.startswith(word)
        assert ">>>" in (kind.__doc__ or "")


@given(st.text())
def test_a_digest_fits_a_float_and_only_the_empty_text_is_nothing(text: str) -> None:
    digest = ids.digest(text)
    assert 0 <= digest < 2**ids.BITS
    assert int(float(digest)) == digest
    assert (digest == ids.NOTHING) == (text == "")
