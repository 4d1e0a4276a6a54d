"""The whole-history form of every kind gives what its streaming form gives, to the bit."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.aggregates.declared import KINDS
from features.aggregates.folding import FORMS, KEYED_FORMS, fold, fold_keyed
from features.aggregates.keyed import Affinity, History, KeyedKind, Transition
from features.aggregates.kinds import Decayed, FirstSeen, Kind, Last, Mean, Rate, Recency
from features.aggregates.runs import Runs
from features.aggregates.stepping import Named
from features.aggregates.windows import Distinct, Sum, Window

ENTITIES = 4
UNKEYED: list[Kind] = [Decayed(3600.0), Mean(60.0), Rate(500.0), Recency(), FirstSeen(), Last()]
KEYED: list[KeyedKind] = [
    Affinity(50.0, bound=3),
    Transition(1e6, bound=2),
    History(3),
    Window(100.0, 7.0),
    Sum(50.0, 50.0),
    Distinct(60.0, bound=2),
]

times = st.one_of(
    st.integers(-3, 200).map(float), st.floats(-5.0, 1e4).map(lambda time: round(time, 6)), st.just(1.7e9)
)
amounts = st.one_of(st.just(1.0), st.floats(-1e6, 1e6), st.integers(0, 9).map(float))
keys = st.lists(st.integers(1, 8), max_size=5)
events = st.lists(st.tuples(st.integers(0, ENTITIES - 1), times, amounts, keys), max_size=60)
Event = tuple[int, float, float, list[int]]


def run(some: list[Event]) -> Runs:
    ordered = sorted(some, key=lambda event: event[0])  # within an entity as they came
    found, rank = np.unique(np.array([event[1] for event in ordered], np.float64), return_inverse=True)
    entity = np.array([event[0] for event in ordered], np.int64)
    return Runs(entity, rank.astype(np.int64), found, np.array([event[2] for event in ordered], np.float64), ENTITIES)


def bits(values: Any) -> bytes:
    return array("d", [value + 0.0 for value in values]).tobytes()  # of zeros the sign does not count


@pytest.mark.parametrize("kind", UNKEYED, ids=lambda kind: type(kind).__name__)
@given(groups=st.tuples(events, events))
def test_states_folded_are_those_of_one_event_after_another(
    kind: Kind, groups: tuple[list[Event], list[Event]]
) -> None:
    parts = groups[: kind.groups]
    folded = fold(kind, [run(part) for part in parts])
    for entity in range(ENTITIES):
        state = kind.empty()
        for part, some in enumerate(parts):
            for _, time, amount, _ in [event for event in some if event[0] == entity]:
                kind.update(state, time, amount if kind.groups == 1 else 1.0, part)
        assert bits(folded[entity]) == bits(state)


@pytest.mark.parametrize("kind", KEYED, ids=lambda kind: type(kind).__name__)
@given(some=events)
def test_tables_folded_are_those_of_one_event_after_another(kind: KeyedKind, some: list[Event]) -> None:
    ordered = sorted(some, key=lambda event: event[0])
    named = [(at, key) for at, event in enumerate(ordered) for key in (event[3] if kind.takes_key else [0])]
    columns = np.array(named, np.int64).reshape(-1, 2)
    folded = fold_keyed(kind, Named(run(some), columns[:, 0], columns[:, 1]))
    for entity in range(ENTITIES):
        state = kind.empty()
        for _, time, amount, of in [event for event in some if event[0] == entity]:
            if of or not kind.takes_key:
                kind.update(state, time, amount, tuple(of))
        mine = folded.entity == entity
        assert bits(folded.head[entity]) == bits(state.head)
        assert folded.key[mine].tolist() == sorted(state.rows)
        assert [bits(row) for row in folded.rows[mine]] == [bits(state.rows[key]) for key in sorted(state.rows)]


@pytest.mark.parametrize("kind", [*UNKEYED, *KEYED], ids=lambda kind: type(kind).__name__)
def test_a_kind_without_a_form_of_its_own_goes_through_its_streaming_form(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    some: list[Event] = [(at % 3, 100.0 + at * 7 % 50, 1.0, [at % 4 + 1]) for at in range(40)]
    named = np.arange(40), np.array([event[3][0] for event in sorted(some, key=lambda event: event[0])])

    def folded() -> Any:
        if isinstance(kind, KeyedKind):
            states = fold_keyed(kind, Named(run(some), *named))
            return [states.head.tolist(), states.entity.tolist(), states.key.tolist(), states.rows.tolist()]
        return fold(kind, [run(some)] * kind.groups).tolist()

    expected = folded()
    for forms in (FORMS, KEYED_FORMS):
        monkeypatch.delitem(forms, type(kind), raising=False)
    assert folded() == expected


def test_every_kind_of_the_catalogue_has_a_whole_history_form() -> None:
    assert {*FORMS, *KEYED_FORMS} == set(KINDS.values())
    assert {type(kind) for kind in [*UNKEYED, *KEYED]} == set(KINDS.values())
