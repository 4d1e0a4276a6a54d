"""Experiments in the catalog: what is refused, and how units stay where they are when it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from features.documents import DocumentError
from service.catalog import kept, reading, versions
from service.catalog.compiled import compile_catalog
from service.catalog.reading import Known
from service.experiments.assignment import Units, assign
from tests.service import shop

if TYPE_CHECKING:
    from features.home import Home
    from service.catalog.schema import Catalog

NOW = 1_800_000_000_000_000
PAIR: list[dict[str, Any]] = [{"id": "usual"}, {"id": "bold", "exploration": 1.0}]
RUNNING: dict[str, Any] = {"id": "hero", "status": "running", "variants": PAIR}
MODELS = frozenset(["champion", "challenger"])
KNOWN = Known(aliases=MODELS)


def said(*experiments: dict[str, Any], **others: Any) -> str:
    return yaml.safe_dump(shop.CATALOG | {"experiments": list(experiments)} | others, sort_keys=False)


def problems(text: str, known: Known = KNOWN) -> list[str]:
    """What is refused, without where."""
    with pytest.raises(DocumentError) as refused:
        reading.parse("c", text, known)
    for problem in refused.value.problems:
        assert int(problem.split(":")[1]) > 1
    return [problem.split(": ", 1)[1] for problem in refused.value.problems]


def weighted(**weights: float) -> list[dict[str, Any]]:
    return [{"id": name, "weight": weight} for name, weight in weights.items()]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"variants": weighted(a=0.5, b=0.4)}, "variants: the weights add up to 0.9, not to 1"),
        (
            {"variants": [{"id": "a", "weight": 1.0}, {"id": "b"}]},
            "variants: either all variants have a `weight` or none",
        ),
        ({"variants": [{"id": "a"}, {"id": "a"}]}, "variants[1].id: 'a' stands here a second time"),
        ({"variants": [{"id": "a"}]}, "variants: a running experiment has two variants or more"),
        (
            {"variants": [{"id": "a"}, {"id": "b", "model": "nobody"}]},
            "variants[1].model: no model has the alias 'nobody' (challenger, champion)",
        ),
        (
            {"variants": [{"id": "a", "candidates": ["o-1", "x"]}, {"id": "b"}]},
            "variants[0].candidates[1]: there is no candidate 'x'",
        ),
        (
            {"variants": [{"id": "a", "weights": {"x": 2}}, {"id": "b"}]},
            "variants[0].weights.x: there is no candidate 'x'",
        ),
        (
            {"variants": [{"id": "a", "content": {"x": {}}}, {"id": "b"}]},
            "variants[0].content.x: there is no candidate 'x'",
        ),
        (
            {"variants": [{"id": "a", "content": {"o-1": {"cta": "{{ traits.name }}"}}}, {"id": "b"}]},
            "variants[0].content.o-1.cta: a template needs a `fallback` for 'cta', for whom a value is missing",
        ),
        (
            {"variants": [{"id": "a", "value": True}, {"id": "b", "value": "yes"}]},
            "variants: `value` is of one type for all; these are texts and true or false",
        ),
        (
            {"variants": [{"id": "a", "value": 1}, {"id": "b"}]},
            "variants: `value` is of one type for all; these are nothing and numbers",
        ),
        ({"placements": ["calm", "cellar"]}, "placements[1]: there is no placement 'cellar'"),
        ({"starts": "2026-11-23", "ends": "2026-11-22"}, "ends: it ends before it begins"),
        (
            {"eligibility": "trait.plan == 'gold'"},
            "eligibility: there is no 'trait' here, only features, traits, segments, context, now",
        ),
        (
            {"eligibility": "placement == 'calm'"},
            "eligibility: there is no 'placement' here, only features, traits, segments, context, now",
        ),
        ({"status": "rolled_out"}, "status: say which variant everybody has: `rolled_out`"),
        ({"status": "rolled_out", "rolled_out": "x"}, "rolled_out: there is no variant 'x'"),
        ({"rolled_out": "bold"}, "rolled_out: it counts when `status` is rolled_out"),
        ({"analysis": {"control": "x"}}, "analysis.control: there is no variant 'x'"),
        ({"share": 1.5}, "share: Input should be less than or equal to 1, not 1.5"),
        ({"id": "holdout"}, "id: 'holdout' is the global holdout's name"),
    ],
)
def test_a_wrong_experiment_is_refused_where_it_is_wrong(changed: dict[str, Any], told: str) -> None:
    assert problems(said(RUNNING | changed)) == [f"experiments[0].{told}"]


def test_overlapping_layers_are_refused() -> None:
    one, two = ({**RUNNING, "id": name, "layer": "top", "share": 0.6} for name in ("one", "two"))
    assert problems(said(one, two)) == [
        "experiments[1].share: the experiments of layer 'top' overlap: one 0.6 + two 0.6 > 1"
    ]
    assert problems(said(one | {"share": 0.4}, two | {"unit": "anonymous"})) == [
        "experiments[1].unit: layer 'top' has units of another kind"
    ]
    reading.parse("c", said(one, two | {"status": "draft"}))


def test_wrong_flags_are_refused() -> None:
    flags = [
        {"id": "hero", "variants": {"on": True, "off": False}, "default": "off"},
        {
            "id": "b",
            "variants": {"one": 1, "two": "2"},
            "default": "three",
            "rules": [{"when": "nothing", "variant": "x"}],
        },
        {"id": "c", "variants": {"none": None}, "default": "none"},
    ]
    assert problems(said(RUNNING, flags=flags)) == [
        "flags[0].id: 'hero' stands here a second time",
        "flags[1].variants: the value is of one type for all; these are numbers and texts",
        "flags[1].default: there is no variant 'three'",
        "flags[1].rules[0].when: there is no 'nothing' here, only features, traits, segments, context, now",
        "flags[1].rules[0].variant: there is no variant 'x'",
        "flags[2].variants: the value is something",
    ]


def test_on_and_off_are_names_though_yaml_takes_them_for_truth() -> None:
    text = "flags: [{id: new, variants: {on: true, off: false}, default: off}]\n" + said()
    catalog, _ = reading.parse("c", text)
    assert catalog.flags[0].variants == {"on": True, "off": False}
    assert catalog.flags[0].default == "off"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"unit": "anonymous"}, "unit: 'hero' has begun, and this would mix"),
        ({"layer": "top"}, "layer: 'hero' has begun, and this would mix"),
        ({"placements": ["calm"]}, "placements: 'hero' has begun, and this would mix"),
        ({"eligibility": "true"}, "eligibility: 'hero' has begun, and this would mix"),
        ({"analysis": {"confidence": 0.9}}, "analysis: 'hero' has begun, and this would mix"),
        ({"variants": [*PAIR, {"id": "c"}]}, "variants: 'hero' has begun with the variants usual, bold"),
        (
            {"variants": [PAIR[0], {"id": "bold", "exploration": 0.5}]},
            "variants[1].exploration: 'hero' has begun with another",
        ),
        ({"status": "draft"}, "status: 'hero' has begun, and cannot be a draft again"),
        ({"starts": "2028-01-01"}, "starts: 'hero' has begun, and units have met it"),
    ],
)
@pytest.mark.parametrize("status", ["running", "stopped"])
def test_an_experiment_that_has_begun_is_not_changed_and_the_refusal_says_what_to_do(
    changed: dict[str, Any], told: str, status: str
) -> None:
    before, _ = reading.parse("c", said(RUNNING | {"status": status}))
    text = said(RUNNING | changed)
    (problem,) = problems(text, Known(before=before, now=NOW))
    assert problem.startswith(f"experiments[0].{told}")
    assert problem.endswith("set its `status` to stopped, and begin another experiment with an id of its own")
    later, _ = reading.parse("c", said(RUNNING | {"status": status, "starts": "2028-01-01"}))
    reading.parse("c", text, Known(before=later, now=NOW))


def test_an_experiment_that_runs_is_stopped_before_it_is_taken_out() -> None:
    before, _ = reading.parse("c", said(RUNNING))
    assert problems(said(), Known(before=before, now=NOW)) == [
        "experiments: 'hero' is running: set its `status` to stopped before it is taken out"
    ]
    stopped, _ = reading.parse("c", said(RUNNING | {"status": "stopped"}), Known(before=before, now=NOW))
    reading.parse("c", said(), Known(before=stopped, now=NOW))


def test_what_changes_no_result_may_be_changed() -> None:
    before, _ = reading.parse("c", said(RUNNING))
    changed = RUNNING | {"variants": [PAIR[0] | {"weight": 0.3}, PAIR[1] | {"weight": 0.7}], "ends": "2030-01-01"}
    reading.parse("c", said(changed), Known(before=before, now=NOW))
    reading.parse("c", said(RUNNING | {"status": "rolled_out", "rolled_out": "bold"}), Known(before=before, now=NOW))


def of_each(catalog: Catalog, units: int = 1000) -> list[dict[str, str]]:
    table = compile_catalog(catalog, "v").experiments
    return [assign(table, Units(f"c-{n}"), NOW, lambda _: True, {}, lambda _: True).variants for n in range(units)]


def live(home: Home) -> Catalog:
    return versions.read(home)[0]


def published(home: Home, text: str) -> str:
    return versions.publish(home, text, "", "", versions.ANY).version


@pytest.fixture
def stocked(home: Home) -> Home:
    shop.publish(home, "1")
    return home


def test_a_publish_stores_ranges_and_new_weights_move_the_fewest_units(stocked: Home) -> None:
    published(stocked, said(RUNNING))
    before = of_each(live(stocked))
    assert [variant.ranges for variant in live(stocked).experiments[0].variants] == [((0, 5000),), ((5000, 10000),)]
    published(stocked, said(RUNNING | {"variants": [PAIR[0] | {"weight": 0.7}, PAIR[1] | {"weight": 0.3}]}))
    after = of_each(live(stocked))
    moved = [(one["hero"], other["hero"]) for one, other in zip(before, after, strict=True) if one != other]
    assert set(moved) == {("bold", "usual")}
    assert 150 < len(moved) < 250
    published(stocked, said(RUNNING | {"share": 0.5}))
    fewer = of_each(live(stocked))
    assert all(
        one["hero"] == other["hero"]
        for one, other in zip(after, fewer, strict=True)
        if "hero" in other and one["hero"] == "bold"
    )


def test_more_coverage_moves_nobody(stocked: Home) -> None:
    published(stocked, said(RUNNING | {"share": 0.2}))
    before = of_each(live(stocked))
    published(stocked, said(RUNNING | {"share": 0.9}))
    after = of_each(live(stocked))
    assert all(one == other for one, other in zip(before, after, strict=True) if one)
    assert sum(map(bool, after)) > 4 * sum(map(bool, before))


def test_an_experiment_that_comes_into_a_layer_leaves_the_others_where_they_are(stocked: Home) -> None:
    one, two, three = ({**RUNNING, "id": name, "layer": "top", "share": 0.3} for name in ("one", "two", "three"))
    published(stocked, said(one, two))
    before = of_each(live(stocked))
    published(stocked, said(three, two, one))
    after = of_each(live(stocked))
    assert all(other == one for one, other in zip(before, after, strict=True) if one)
    published(stocked, said(three, two, one | {"status": "stopped"}))
    assert all(
        not one or "one" in one or one == other for one, other in zip(after, of_each(live(stocked)), strict=True)
    )


def test_a_rollback_puts_units_back_where_they_were(stocked: Home) -> None:
    first = published(stocked, said(RUNNING | {"variants": [PAIR[0] | {"weight": 0.7}, PAIR[1] | {"weight": 0.3}]}))
    published(stocked, said(RUNNING))
    second = published(stocked, said(RUNNING | {"variants": [PAIR[0] | {"weight": 0.1}, PAIR[1] | {"weight": 0.9}]}))
    before = of_each(live(stocked))
    published(stocked, said(RUNNING | {"status": "stopped"}))
    versions.restore(stocked, second, "", "")
    assert versions.read(stocked)[1] == second
    assert of_each(live(stocked)) == before
    assert first != second


def test_a_version_names_the_ranges_too(stocked: Home) -> None:
    """Else a decision of the one could not be made again by the other."""
    plain = published(stocked, said(RUNNING))
    assert plain == reading.parse("c", said(RUNNING))[1]
    published(stocked, said(RUNNING | {"variants": [PAIR[0] | {"weight": 0.2}, PAIR[1] | {"weight": 0.8}]}))
    again = published(stocked, said(RUNNING))
    assert again != plain
    for version in (plain, again):
        catalog = kept.open_version(stocked, version)
        assert catalog is not None
        assert reading.version(catalog) == version


def test_a_file_changed_by_hand_moves_the_fewest_units_and_is_refused_alike(stocked: Home) -> None:
    published(stocked, said(RUNNING | {"share": 0.5}))
    before = of_each(live(stocked))
    stocked.catalog.write_text(said(RUNNING))
    after = of_each(live(stocked))
    assert all(one == other for one, other in zip(before, after, strict=True) if one)
    stocked.catalog.write_text(said(RUNNING | {"unit": "anonymous"}))
    with pytest.raises(DocumentError, match="has begun"):
        versions.read(stocked)


def test_a_publish_looks_for_the_models(stocked: Home) -> None:
    bold = {"id": "bold", "model": "challenger"}
    with pytest.raises(DocumentError, match="no model has the alias 'challenger'"):
        published(stocked, said(RUNNING | {"variants": [PAIR[0], bold]}))
    shop.publish(stocked, "2", "challenger")
    published(stocked, said(RUNNING | {"variants": [PAIR[0], bold]}))


def test_stored_ranges_that_do_not_fit_are_refused() -> None:
    variants = [PAIR[0] | {"ranges": [[0, 4000]]}, PAIR[1] | {"ranges": [[3000, 8000]]}]
    told = problems(said(RUNNING | {"variants": variants}))
    assert told[0].startswith("experiments[0].variants: their `ranges` overlap")
    assert told[1].startswith("experiments[0].variants[0].ranges: its weight is 5000 of 10000 buckets: leave it out")
    own = [PAIR[0] | {"ranges": [[5000, 10000]]}, PAIR[1] | {"ranges": [[0, 5000]]}]
    catalog, _ = reading.parse("c", said(RUNNING | {"variants": own}))
    assert catalog.experiments[0].variants[1].ranges == ((0, 5000),)
