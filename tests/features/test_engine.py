"""Events into states: every declared feature equals the naive oracle's, and the declarations stand as recorded."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.aggregates import declared
from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, blank, lay_out, merge, pack, unpack
from features.events.occurrences import read
from features.ids import digest
from tests.features.behaviour import CUSTOMERS, PRODUCTS, PROMOTIONS, SECOND, behave
from tests.features.oracle import Oracle, advance, approximately, close

GOLDEN = Path(__file__).parents[1] / "golden" / "layouts.json"
END = 1_760_000_000 * SECOND

seeds = st.integers(0, 1 << 30)
sizes = st.integers(0, 60)
# Also such that events stand in the last hop of the window of a day.
latencies = st.sampled_from([0.0, 60.0, 84_600.0, 86_400.0, 88_200.0, 86_400.0 * 3])


@settings(max_examples=40, deadline=None)
@given(seed=seeds, size=sizes, later=latencies)
def test_every_feature_of_a_customer_equals_the_naive_oracles(seed: int, size: int, later: float) -> None:
    events, now = behave(seed, size, END), END / 1e6 + later
    customers, _ = advance(events)
    oracle = Oracle(events)
    assert customers.keys() == oracle.customers
    for number, customer in enumerate(CUSTOMERS):
        candidate = [*PRODUCTS, *PROMOTIONS, "never seen"][(seed + number) % 18]
        category = ["shoes", "hats", "coats", "", "never seen"][(seed + number) % 5]
        closed = close("customer", customers.get(customer), now, candidate, category)
        assert closed == approximately(oracle.customer(customer, now, candidate, category))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, size=sizes, later=latencies)
def test_every_feature_of_a_candidate_and_of_what_followed_it_equals_the_naive_oracles(
    seed: int, size: int, later: float
) -> None:
    events, now = behave(seed, size, END), END / 1e6 + later
    _, candidates = advance(events)
    oracle = Oracle(events)
    everything = {declared.TOTAL} if oracle.seen else set()
    assert {row.text for row in candidates.candidate.values()} == oracle.candidates | everything
    for candidate in [*PRODUCTS, *PROMOTIONS, declared.TOTAL, "never seen"]:
        closed = close("candidate", candidates.candidate.get(digest(candidate)), now)
        assert closed == approximately(oracle.candidate(candidate, now))
    for number, before in enumerate(PRODUCTS):
        row = candidates.successors.get(digest(before))
        for after in [f"p-{(number + step) % 12}" for step in range(3)]:
            assert close("successors", row, now, after) == approximately(oracle.successors(before, after, now))


@settings(max_examples=20, deadline=None)
@given(seed=seeds, size=sizes)
def test_a_row_comes_back_from_its_packed_lists_as_it_was(seed: int, size: int) -> None:
    customers, candidates = advance(behave(seed, size, END))
    rows = [("customer", row) for row in customers.values()]
    rows += [("candidate", row) for row in candidates.candidate.values()]
    rows += [("successors", row) for row in candidates.successors.values()]
    for view, row in [*rows, ("customer", blank(LAYOUTS["customer"], "new"))]:
        numbers, ids = pack(row)
        opened = unpack(LAYOUTS[view], row.text, row.applied, numbers, ids)
        assert opened == row
        assert pack(opened) == (numbers, ids)


@settings(max_examples=10, deadline=None)
@given(seed=seeds, size=sizes)
def test_packing_a_row_between_events_changes_nothing(seed: int, size: int) -> None:
    row, undisturbed = (blank(LAYOUTS["customer"], "ann") for _ in range(2))
    for seen in filter(None, map(read, behave(seed, size, END))):
        advance_customer(row, seen)
        advance_customer(undisturbed, seen)
        assert unpack(LAYOUTS["customer"], "ann", 0, *pack(row)) == undisturbed


@pytest.mark.parametrize(("more_numbers", "more_ids"), [(-1, 0), (1, 0), (0, -1), (0, 1)])
def test_packed_lists_of_another_length_are_refused(more_numbers: int, more_ids: int) -> None:
    customers, _ = advance(behave(1, 60, END))
    numbers, ids = pack(customers["bob"])
    numbers = numbers[:more_numbers] if more_numbers < 0 else numbers + [0.0] * more_numbers
    ids = ids[:more_ids] if more_ids < 0 else ids + [0] * more_ids
    with pytest.raises(ValueError, match="'bob': packed lists"):
        unpack(LAYOUTS["customer"], "bob", 1, numbers, ids)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, size=sizes, parts=st.integers(2, 4))
def test_merged_partial_candidates_are_the_candidates_of_all_events(seed: int, size: int, parts: int) -> None:
    events, now = behave(seed, size, END), END / 1e6
    _, whole = advance(events)
    shares = [
        advance([event for event in events if digest(event.customer) % parts == part])[1] for part in range(parts)
    ]
    for view in ("candidate", "successors"):
        for key, row in getattr(whole, view).items():
            partial = [getattr(share, view)[key] for share in shares if key in getattr(share, view)]
            merged = partial[0]
            for one in partial[1:]:
                merged = merge(LAYOUTS[view], merged, one)
            assert close(view, merged, now, "p-1") == approximately(close(view, row, now, "p-1"))


@pytest.mark.parametrize("view", LAYOUTS)
def test_changing_any_parameter_of_a_declaration_changes_the_layouts_version(view: str) -> None:
    aggregates = LAYOUTS[view].aggregates
    versions = {lay_out(view, aggregates).version}
    variants = 0
    for at, aggregate in enumerate(aggregates):
        kinds = [
            msgspec.structs.replace(aggregate.kind, **{field: getattr(aggregate.kind, field) + 1})
            for field in aggregate.kind.__struct_fields__
        ]
        changed = [msgspec.structs.replace(aggregate, kind=kind) for kind in kinds]
        changed.append(msgspec.structs.replace(aggregate, events=(("Another",), *aggregate.events[1:])))
        changed.append(msgspec.structs.replace(aggregate, value="items" if aggregate.value == "one" else "one"))
        changed.append(
            msgspec.structs.replace(aggregate, key="category" if aggregate.key != "category" else "candidate")
        )
        for one in changed:
            versions.add(lay_out(view, (*aggregates[:at], one, *aggregates[at + 1 :])).version)
            variants += 1
    versions.add(lay_out(view, aggregates[::-1]).version if len(aggregates) > 1 else "")
    assert len(versions) == variants + 2


def test_versions_and_names_of_features_stand_as_recorded() -> None:
    present = {
        view: {
            "version": layout.version,
            "features": [output for aggregate in layout.aggregates for output in aggregate.outputs],
        }
        for view, layout in LAYOUTS.items()
    }
    assert present == json.loads(GOLDEN.read_text()), (
        "the declarations changed: stored rows of the old ones are unknown until `kairos replay`. "
        f"If that is meant, record the new ones in {GOLDEN}"
    )


def test_names_of_features_are_unique_and_fit_the_model() -> None:
    names = [output for layout in LAYOUTS.values() for aggregate in layout.aggregates for output in aggregate.outputs]
    assert len(names) == len(set(names))
    assert all(name.replace("_", "").isalnum() and name == name.lower() for name in names)
