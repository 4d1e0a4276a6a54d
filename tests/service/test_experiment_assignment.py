"""Who is in which variant: the same numbers as GrowthBook, evenly, independently, and never changed by accident."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from service.catalog.experiments import BUCKETS
from service.catalog.schema import Catalog
from service.experiments.assignment import Table, Units, assign, tabulate
from service.experiments.hashing import bucket, codes, fall, fnv32a
from service.experiments.ranges import move, size_of, sizes_of, spread
from tests.service import shop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.catalog.experiments import Ranges
    from service.catalog.expressions import Formula

GOLDEN = Path(__file__).parents[1] / "golden" / "assignments.json"
PAIR = [{"id": "usual"}, {"id": "bold"}]
NOW = 1_800_000_000_000_000


def table(*experiments: dict[str, Any], **others: Any) -> Table:
    running = [{"status": "running", "variants": PAIR} | experiment for experiment in experiments]
    return tabulate(Catalog.model_validate(shop.CATALOG | {"experiments": running} | others))


def given_to(of: Table, customer: str, anonymous: str = "", **forced: str) -> dict[str, str]:
    return assign(of, Units(customer, anonymous), NOW, lambda _: True, forced, lambda _: True).variants


@pytest.mark.parametrize(
    ("value", "share"),
    [
        *(("a", 0.22), ("b", 0.077), ("ab", 0.946), ("def", 0.652), ("8952klfjas09ujkasdf", 0.549), ("123", 0.011)),
        ('___)((*":&', 0.563),
    ],
)
def test_the_hash_beneath_has_growthbooks_public_values(value: str, share: float) -> None:
    """Version 1 of its assignment, with an empty seed, is this hash modulo 1000."""
    assert fnv32a(value) % 1000 / 1000 == share


def test_version_two_has_growthbooks_public_value() -> None:
    assert bucket("seed", "a") / BUCKETS == 0.0505


def test_ranges_are_growthbooks_public_ones() -> None:
    assert spread([0.5, 0.5], 0.5) == [((0, 2500),), ((5000, 7500),)]
    assert spread([0.2, 0.3, 0.5], 0.2) == [((0, 400),), ((2000, 2600),), ((5000, 6000),)]
    assert spread([1 / 3] * 3) == [((0, 3334),), ((3334, 6667),), ((6667, 10000),)]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.text(max_size=40))
def test_the_compiled_hash_is_the_plain_one(seeds: list[str], unit: str) -> None:
    buckets = np.empty(len(seeds), np.int64)
    fall(np.array([fnv32a(seed) for seed in seeds]), codes(unit), buckets)
    assert buckets.tolist() == [bucket(seed, unit) for seed in seeds]


def test_texts_are_read_as_javascript_reads_them() -> None:
    assert codes("ü😀").tolist() == [0xFC, 0xD83D, 0xDE00]
    assert codes("\ud83d").tolist() == [0xD83D]


def test_assignments_never_change() -> None:
    """To change them on purpose, which moves everybody's customers, delete the golden file and run this twice."""
    of = table(
        {
            "id": "hero",
            "variants": [{"id": "a", "weight": 0.2}, {"id": "b", "weight": 0.3}, {"id": "c", "weight": 0.5}],
        },
        {"id": "half", "share": 0.5},
        {"id": "first", "layer": "checkout", "share": 0.3},
        {"id": "second", "layer": "checkout", "share": 0.7},
        {"id": "visitors", "unit": "anonymous"},
        holdout={"share": 0.1},
    )
    ids = [*(f"c-{number}" for number in range(60)), "", "ü", "😀", "a" * 256, "5f0c6a3e-0000-4000-8000-000000000000"]
    given_ = {name: given_to(of, name, f"visitor of {name}") for name in ids}
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(given_, indent=1))
        pytest.fail(f"{GOLDEN.name} was missing and is written")
    assert given_ == json.loads(GOLDEN.read_text())


def test_units_are_spread_evenly_and_layers_know_nothing_of_each_other() -> None:
    """20,000 units in 30 layers; the benchmark of assignment does a million in a hundred."""
    layers, units = 30, 20_000
    states = np.array([fnv32a(f"layer-{number}") for number in range(layers)])
    buckets = np.empty((units, layers), np.int64)
    for number in range(units):
        fall(states, codes(f"customer-{number}"), buckets[number])
    even = [stats.chisquare(np.bincount(buckets[:, at] // 100, minlength=100)).pvalue for at in range(layers)]
    tens = buckets // 1000
    apart = [
        stats.chi2_contingency(np.bincount(tens[:, one] * 10 + tens[:, other], minlength=100).reshape(10, 10)).pvalue
        for one, other in itertools.combinations(range(layers), 2)
    ]
    for values in (even, apart):  # as many small ones as chance has
        assert min(values) > 0.001 / len(values)
        assert stats.kstest(values, "uniform").pvalue > 0.001


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), st.floats(0.0, 1.0))
def test_all_buckets_are_given_and_none_twice(parts: list[int], coverage: float) -> None:
    weights = [part / sum(parts) for part in parts]
    ranges = spread(weights, coverage)
    assert [size_of(each) for each in ranges] == sizes_of(weights, coverage)
    assert sum(map(size_of, ranges)) == pytest.approx(coverage * BUCKETS, abs=1)
    assert len(set(listed(dict(enumerate(ranges))))) == sum(map(size_of, ranges))


@given(st.lists(st.integers(0, 40), min_size=2, max_size=4), st.lists(st.integers(0, 40), min_size=2, max_size=4))
def test_new_weights_move_no_more_units_than_they_must(before: list[int], after: list[int]) -> None:
    names = [str(at) for at in range(max(len(before), len(after)))]
    old = dict(zip(names, [60 * each for each in before], strict=False))
    wanted = dict(zip(names, [60 * each for each in after], strict=False))
    start = move({}, old)
    moved = move(start, wanted)
    assert {name: size_of(ranges) for name, ranges in moved.items()} == wanted
    was, now = listed(start), listed(moved)
    stayed = sum(now.get(place) == name for place, name in was.items())
    assert stayed == sum(min(old.get(name, 0), wanted.get(name, 0)) for name in names)
    lost = sum(old.values()) - stayed
    newcomers = sum(place not in was for place in now)
    assert newcomers == max(sum(wanted.values()) - stayed - lost, 0)


def listed(ranges: Mapping[Any, Ranges]) -> dict[int, Any]:
    """Bucket -> whose it is."""
    pairs = [(place, name) for name, several in ranges.items() for each in several for place in range(*each)]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def test_experiments_of_a_layer_share_no_unit_and_others_do() -> None:
    of = table(
        {"id": "one", "layer": "hero", "share": 0.4},
        {"id": "two", "layer": "hero", "share": 0.6},
        {"id": "apart"},
    )
    counts = {"one": 0, "two": 0, "both": 0}
    for number in range(2000):
        got = given_to(of, f"c-{number}")
        assert "apart" in got
        assert ("one" in got) != ("two" in got)
        counts["one"] += "one" in got
    assert stats.binomtest(counts["one"], 2000, 0.4).pvalue > 0.001


def test_the_holdout_comes_first_and_is_in_nothing() -> None:
    of = table({"id": "one"}, holdout={"share": 0.2})
    got = [given_to(of, f"c-{number}") for number in range(2000)]
    held = [each for each in got if each["holdout"] == "held"]
    assert all(set(each) == {"holdout"} for each in held)
    assert all(set(each) == {"holdout", "one"} for each in got if each["holdout"] == "open")
    assert stats.binomtest(len(held), 2000, 0.2).pvalue > 0.001


def test_visitors_keep_their_variant_whoever_they_are() -> None:
    of = table({"id": "visitors", "unit": "anonymous"})
    assert {given_to(of, f"c-{number}", "a-9")["visitors"] for number in range(50)} == {
        given_to(of, "c", "a-9")["visitors"]
    }
    assert given_to(of, "c-1") == {}


def test_who_is_not_known_gets_nothing_but_what_is_forced() -> None:
    of = table({"id": "one"}, {"id": "two"}, holdout={"share": 0.2})
    assert given_to(of, "", "a-9", one="bold") == {"one": "bold"}


def test_a_forced_variant_keeps_others_of_its_layer_away() -> None:
    of = table({"id": "one", "layer": "hero", "share": 0.5}, {"id": "two", "layer": "hero", "share": 0.5})
    for number in range(50):
        assert given_to(of, f"c-{number}", one="bold") == {"one": "bold"}


def test_an_experiment_holds_from_its_start_until_before_its_end() -> None:
    of = table({"id": "one", "starts": "2027-01-01T00:00:00+00:00", "ends": "2027-01-02T00:00:00+00:00"})
    entry = of.entries[0]
    for now, inside in ((entry.starts - 1, False), (entry.starts, True), (entry.ends - 1, True), (entry.ends, False)):
        found = assign(of, Units("c-1"), now, lambda _: True, {}, lambda _: True)
        assert bool(found.variants) == inside


def test_eligibility_is_asked_only_of_units_within() -> None:
    of = table({"id": "one", "share": 0.5, "eligibility": "context.plan == 'gold'"})
    asked: list[Formula] = []

    def refuse(formula: Formula) -> bool:
        asked.append(formula)
        return False

    found = [assign(of, Units(f"c-{number}"), NOW, lambda _: True, {}, refuse) for number in range(400)]
    assert not any(each.variants for each in found)
    assert stats.binomtest(len(asked), 400, 0.5).pvalue > 0.001
