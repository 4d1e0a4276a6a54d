"""What a catalog may not say: each error is told at its place, all at once, and before anything grows or hangs."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from features.documents import DocumentError
from features.nodes import DEEPEST
from service.catalog import reading, sources
from service.catalog.compiled import compile_catalog, pool
from service.catalog.parts import format_duration, parse_duration
from service.catalog.schema import Catalog

HEAD = "placements: [{id: p, default: a}, {id: q, default: a, channel: mail}]\ngroups: [{id: g}]\n"
SEEN = "features.customer__product_viewed__count_1d"


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as refused:
        reading.parse("c", text)
    return [problem.removeprefix("c:") for problem in refused.value.problems]


def of_candidate(*lines: str) -> list[str]:
    """What is wrong with candidate `b`, whose lines begin at the fifth."""
    body = "".join(f"    {line}\n" for line in lines)
    return problems(f"{HEAD}candidates:\n  - {{id: a}}\n  - id: b\n{body}")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("group: h", "there is no group 'h'"),
        ("placements: [p, r]", "there is no placement 'r'"),
        ("conflicts: [h]", "there is no group 'h'"),
        ("content_for: [{placement: r, content: {a: 1}}]", "there is no placement 'r'"),
        ("content_for: [{content: {a: 1}}]", "a placement, a locale or both are expected"),
        ("content_for: [{locale: de, content: {a: 1}}, {locale: de}]", "stand here a second time"),
        ("content_for: [{locale: d e}]", "pattern"),
        ("weight: -1", "greater than or equal to 0"),
        ("weight: .nan", "or equal to"),
        ("weight: .inf", "less than or equal to"),
        ("value: .nan", "a number from"),
        ("value: true", "a number or an expression"),
        ("value: 1e13", "a number from"),
        ("price: -0.01", "greater than or equal to 0"),
        ("stock: -1", "greater than or equal to 0"),
        ("stock: 1.5", "integer"),
        ("personal_window: 24", "a duration such as 24h"),
        ("personal_window: 0h", "longer than nothing"),
        ("personal_window: 11y", "a duration such as 24h"),
        ("not_if_bought_within: 99999d", "at most"),
        ("not_if_declined_within: soon", "a duration such as 24h"),
        ("windows: [{from: 2026-02-30}]", "a day such as"),
        ("windows: [{from: 2026-12-01, until: 2026-11-01}]", "ends before it begins"),
        (
            "windows: [{from: 2026-12-01, until: 2026-12-24}, {from: 2026-12-24}]",
            "overlaps a window above",  # a day without a time is in with all its hours
        ),
        ("colour: red", "Extra inputs"),
        ("rule: user.age > 3", "there is no 'user' here"),
        ("rule: features.horoscope > 1.0", "there is no feature 'horoscope'"),
        ("rule: features.customer__product_viewed_candidate__last > 1.0", "is no number"),
        ("rule: features.pair__order_completed__own_share > 0.5", "differs by candidate"),
        (f"rule: {SEEN}", "true or false is expected, and this gives float"),
        (f"rule: {SEEN} > 'many'", "the types do not fit"),
        (f"rule: {SEEN} * 2 > 3.0", "written with a point"),
        (f"rule: {SEEN} > 1.0 || 'a' > 2", "the types do not fit"),
        ("rule: context.device == 'mobile' && 'a' > 2", "the types do not fit"),
        ("rule: vip(segments)", "there is no function 'vip'"),
        ("rule: segments ==", "Syntax error"),
        ("rule: size(features) > 1", "the name of one of its fields"),
        ("rule: '[1].all(a, [1].all(b, [1].all(c, true)))'", "at most 2 of"),
        ("rule: candidate.price > 1.0", "there is no 'candidate' here"),
        ("value: candidate.prise * 0.2", "a candidate has no 'prise'"),
        ("value: candidate.title", "a number is expected"),
    ],
)
def test_what_a_candidate_may_not_say_is_told_with_its_line(line: str, told: str) -> None:
    (problem,) = of_candidate("title: b", line)
    assert problem.startswith("7:")
    assert told in problem


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{t: \"{{ ''.__class__ }}\"}", "'__class__' is not open"),
        ("{t: '{{ traits.__init__ }}'}", "'__init__' is not open"),
        ("{t: '{{ user.name }}'}", "there is no variable 'user'"),
        ("{t: '{{ features.horoscope }}'}", "there is no feature 'horoscope'"),
        ("{t: '{{ candidate.stock }}'}", "a candidate has no 'stock'"),
        ("{t: '{{ traits.name'}", "not a template"),
        ("{t: '{% for x in traits %}{% endfor %}'}", "'for' is not open"),
        ("{t: '{{ range(9) }}'}", "'call' is not open"),
        ("{t: '{{ 9 ** 99999999 }}'}", "'pow' is not open"),
        ("{t: '{{ traits.name | attr(1) }}'}", "there is no filter 'attr'"),
        ("{t: {deep: ['{{ user }}']}}", "there is no variable 'user'"),
    ],
)
def test_what_a_template_may_not_say_is_told_with_its_line(content: str, told: str) -> None:
    (problem,) = of_candidate("fallback: {t: plain}", f"content: {content}")
    assert problem.startswith("7:")
    assert told in problem


def test_a_template_needs_a_fallback_and_a_fallback_a_key() -> None:
    assert of_candidate("content: {t: 'Hello {{ traits.name }}'}", "fallback: {s: 'x', u: '{{ traits.name }}'}") == [
        "6:18: candidates[1].content.t: a template needs a `fallback` for 't', for whom a value is missing",
        "7:19: candidates[1].fallback.s: there is no 's' in the content",
        "7:27: candidates[1].fallback.u: a fallback is what stands there when a value is missing: no template",
        "7:27: candidates[1].fallback.u: there is no 'u' in the content",
    ]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("rule: 'true'", "has a `rule`"),
        ("stock: 3", "has a `stock`"),
        ("personal_window: 1d", "has a `personal_window`"),
        ("windows: [{from: 2026-01-01}]", "has `windows`"),
        ("not_if_bought_within: 1d", "has a `not_if_bought_within`"),
        ("conflicts: [g]", "has `conflicts`"),
        ("value: candidate.price * 0.1", "has an expression"),
        ("placements: [q]", "is for other placements only"),
    ],
)
def test_a_default_that_might_not_be_shown_is_refused(entry: str, told: str) -> None:
    text = "placements:\n  - {id: p, default: a}\n  - {id: q, default: b}\ngroups: [{id: g}]\n"
    (problem,) = problems(f"{text}candidates: [{{id: b}}, {{id: a, {entry}}}]\n")
    assert problem.startswith("2:22: placements[0].default: a default may always be shown")
    assert told in problem


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("caps: [{id: x, per: [customer], limit: 0, period: 1d}]", "greater than or equal to 1"),
        ("caps: [{id: x, per: [planet], limit: 1, period: 1d}]", "customer"),
        ("caps: [{id: x, per: [], limit: 1, period: 1d}]", "at least 1 item"),
        ("caps: [{id: x, per: [customer], limit: 1}]", "Field required"),
        ("caps: [{id: x, per: [customer], limit: 1, period: 1d, scope: {candidates: [z]}}]", "no candidate 'z'"),
        ("caps: [{id: x, per: [customer], limit: 1, period: 1d, scope: {candidates: [a]}}]", "placement's default"),
        ("caps: [{id: x, per: [customer], limit: 1, period: 1d, scope: {categories: [z]}}]", "no category 'z'"),
        ("caps: [{id: x, per: [customer], limit: 1, period: 1d, scope: {tags: [z]}}]", "no tag 'z'"),
        ("budgets: [{id: x, limit: 1, scope: {channels: [fax]}}]", "no channel 'fax'"),
        ("budgets: [{id: x, limit: 1}, {id: x, limit: 2}]", "a second time"),
        ("groups: [{id: h, at_most: 0}]", "greater than or equal to 1"),
    ],
)
def test_caps_and_budgets_of_what_is_not_there_are_refused(said: str, told: str) -> None:
    (problem,) = problems(f"placements: [{{id: p, default: a}}]\ncandidates: [{{id: a}}, {{id: b}}]\n{said}\n")
    assert problem.startswith("3:")
    assert told in problem


def test_a_pinned_candidate_competes_where_it_is_pinned() -> None:
    text = "placements: [{id: p, default: a, excluded: [b], pinned: [b, a, a, z]}]\ncandidates: [{id: a}, {id: b}]\n"
    assert [problem.partition(": ")[2] for problem in problems(text)] == [
        "placements[0].pinned[0]: 'b' does not compete here",
        "placements[0].pinned[2]: 'a' stands here a second time",
        "placements[0].pinned[3]: there is no candidate 'z'",
    ]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + at)}: &{chr(98 + at)} [{', '.join(['*' + chr(97 + at)] * 10)}]\n" for at in range(9)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + at)}: &{chr(98 + at)} {{<<: [{', '.join(['*' + chr(97 + at)] * 10)}]}}\n" for at in range(9)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{at}: &a{at} [*a{at - 1}]\n" for at in range(1, 2000))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "with its aliases followed"),
        (MERGES, "with its aliases followed"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{at}: &a{at} [*a{at - 1}]\n" for at in range(1, 2000)),
            "with its aliases followed",
        ),
        ("a: " + "[" * 100_000, f"more than {DEEPEST} deep"),
        ("\n".join(" " * at + "a:" for at in range(1000)), f"more than {DEEPEST} deep"),
        ("a: &a [*a]", "stands in what it stands for"),
        ("a: 1\nb: 2\na: 3\n", "the key 'a' stands here a second time"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: !!int x", "a value is not what its tag says"),
        ("a: " + "9" * 5000, "a value is not what its tag says"),
        ("{" * 5000, "more than"),
        ('{"a": ' * 5000, "more than"),
    ],
)
def test_texts_that_grow_or_hang_are_refused_before_they_do(text: str, told: str) -> None:
    (problem,) = problems(text)
    assert told in problem


def test_anchors_may_be_used_within_reason() -> None:
    text = "x: &x {kind: offer, value: 2}\nplacements: [{id: p, default: a}]\ncandidates: [{id: a}, {<<: *x, id: b}]\n"
    (problem,) = problems(text)
    assert "x: Extra inputs" in problem
    catalog, _ = reading.parse("c", HEAD + "candidates:\n  - &b {id: a, value: 2}\n  - {<<: *b, id: b}\n")
    assert [candidate.value for candidate in catalog.candidates] == [2.0, 2.0]


def test_ten_thousand_candidates_are_read_and_every_error_among_them_is_told() -> None:
    candidates = [
        {"id": f"c-{at}", "category": f"k-{at % 50}", "tags": ["t"], **({"rule": f"{SEEN} > {at}.0"} if at else {})}
        for at in range(10_000)
    ]
    document: dict[str, Any] = {"placements": [{"id": "p", "default": "c-0"}], "candidates": candidates}
    catalog, version = reading.parse("c", yaml.safe_dump(document))
    compiled = compile_catalog(catalog, version)
    assert len(compiled.candidates) == 10_000
    assert len(compiled.rules) == 9_999
    for candidate in candidates[1:]:
        candidate["rule"] = "segments"
    with pytest.raises(DocumentError) as refused:
        reading.parse("c", json.dumps(document))
    assert len(refused.value.problems) == 9_999
    assert str(refused.value).endswith("and 9,899 more")


MISTAKES = [
    "weight: -1",
    "weight: .nan",
    "kind: thing",
    "nonsense: 1",
    "windows: [{from: 2026-01-01}, {from: 2026-02-01}]",
    "windows: [{from: 2026-02-30}]",
    "group: h",
    "placements: [r]",
    "rule: segments",
    "rule: [1]",
    "content: {t: \"{{ ''.__class__ }}\"}",
    "fallback: {t: x}",
    "id: a",
    "id: []",
]


@given(st.lists(st.sampled_from(MISTAKES), min_size=1, max_size=8))
def test_no_mistake_hides_another_and_all_are_told_from_top_to_bottom(lines: list[str]) -> None:
    entries = [line if line.startswith("id") else f"id: c-{at}\n    {line}" for at, line in enumerate(lines)]
    told = problems(f"{HEAD}candidates:\n  - id: a\n" + "".join(f"  - {entry}\n" for entry in entries))
    assert {problem.split(": ")[1].split(".")[0] for problem in told} == {
        f"candidates[{at}]" for at in range(1, len(lines) + 1)
    }
    places = [tuple(map(int, problem.split(": ")[0].split(":"))) for problem in told]
    assert places == sorted(places)
    assert min(places)[0] > 4


def test_what_only_follows_from_a_mistake_is_not_told() -> None:
    """As that a candidate that is for one placement is no default of another, whose name is wrong."""
    text = (
        "placements: [{id: p, default: [a]}, {id: '', default: a}]\ncandidates:\n"
        "  - {id: a, placements: [p], content: 7, fallback: {t: x}}\n"
        "  - {id: b, windows: [{until: x}, {from: 2026-01-01}]}\n"
        "caps: [{id: k, per: customer, limit: 0, period: 1d, scope: {placements: [z]}}]\n"
        "experiments: [{id: e, status: rolled_out, rolled_out: y, variants: [{id: x, weight: 2}, {id: z}]}]\n"
    )
    assert [problem.split(": ")[1] for problem in problems(text)] == [
        "placements[0].default",
        "placements[1].id",
        "candidates[0].content",
        "candidates[1].windows[0].until",
        "caps[0].per",
        "caps[0].limit",
        "caps[0].scope.placements[0]",
        "experiments[0].variants[0].weight",
    ]


def test_what_runs_is_not_missed_where_its_entry_is_wrong() -> None:
    text = f"{HEAD}candidates: [{{id: a}}]\n"
    text += "experiments: [{id: e, status: running, variants: [{id: x}, {id: y}]}]\n"
    before, _ = reading.parse("c", text)
    with pytest.raises(DocumentError) as refused:
        reading.parse("c", text.replace("running", "walking"), reading.Known(before=before, now=2**60))
    assert len(refused.value.problems) == 1


def test_a_folder_is_one_catalog_and_errors_name_its_files(tmp_path: Path) -> None:
    (tmp_path / "1-placements.yaml").write_text("placements: [{id: p, default: a}]\n")
    (tmp_path / "2-shoes.yaml").write_text("candidates:\n  - id: a\n  - id: b\n")
    (tmp_path / "3-hats.json").write_text('{"candidates": [\n\t{"id": "c",\n\t "title": "\\ud83c\\udfa9"}]}')
    (tmp_path / "catalog.schema.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("not a part")
    catalog, version = reading.read(tmp_path)
    assert [candidate.id for candidate in catalog.candidates] == ["a", "b", "c"]
    assert catalog.candidates[2].title == "\N{TOP HAT}"
    one = {"placements": [{"id": "p", "default": "a"}], "candidates": [{"id": "a"}, {"id": "b"}]}
    one["candidates"].append({"id": "c", "title": "\N{TOP HAT}"})
    assert reading.parse("c", json.dumps(one))[1] == version
    (tmp_path / "3-hats.json").write_text('{"candidates": [\n\t{"id": "b"},\n\t{"id": "c", "weight": -1}]}')
    with pytest.raises(DocumentError) as refused:
        reading.read(tmp_path)
    assert [problem.removeprefix(str(tmp_path)) for problem in refused.value.problems] == [
        "/3-hats.json:2:9: candidates[2].id: 'b' stands here a second time",
        "/3-hats.json:3:24: candidates[3].weight: Input should be greater than or equal to 0, not -1",
    ]
    (tmp_path / "4.yaml").write_text("currency: EUR\n")
    (tmp_path / "5.yaml").write_text("currency: USD\n")
    with pytest.raises(DocumentError, match=r"5\.yaml:1:11: currency: it stands in .*4\.yaml, too"):
        reading.read(tmp_path)


@pytest.mark.parametrize("zone", ["Europe", "a" * 300, "../etc", "/etc/passwd", "Mars/Olympus", "", '"\\0"'])
def test_a_time_zone_that_is_none_is_refused_whatever_the_system_says_to_it(zone: str) -> None:
    [problem] = problems(f"{HEAD}candidates: [{{id: a}}]\ntime_zone: {zone or repr(zone)}\n")
    assert "time_zone: a time zone like Europe/Berlin is expected" in problem


def test_an_empty_folder_is_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="there is no"):
        sources.open_document(tmp_path)


def test_defaults_hold_where_nothing_else_is_said() -> None:
    text = (
        "defaults: {placement: {exploration: 0.2, limit: 3}, candidate: {value: 7, kind: content}}\n"
        "placements: [{id: p, default: a}, {id: q, default: a, limit: 1}]\ncandidates: [{id: a}, {id: b, value: 1}]\n"
    )
    catalog, version = reading.parse("c", text)
    assert [(one.limit, one.exploration) for one in catalog.placements] == [(3, 0.2), (1, 0.2)]
    assert [(one.value, one.kind) for one in catalog.candidates] == [(7.0, "content"), (1.0, "content")]
    written_out = catalog.model_dump_json(exclude={"defaults"}, by_alias=True)
    assert reading.parse("c", written_out)[1] == version
    (problem,) = problems(text.replace("limit: 3", "limit: 0"))
    assert problem.startswith("1:49: defaults.placement.limit")


def test_who_competes_is_known_when_the_catalog_is_read() -> None:
    text = (
        "placements: [{id: p, default: a}, {id: q, default: a, excluded: [c]},"
        " {id: r, default: a, candidates: [d, b]}]\n"
        "candidates: [{id: a}, {id: b, placements: [p]}, {id: c}, {id: d, placements: [r, q]}]\n"
    )
    compiled = compile_catalog(*reading.parse("c", text))

    def competing(placement: str, supplied: list[str] | None = None) -> str:
        return "".join(compiled.candidates[at].id for at in pool(compiled, compiled.placements[placement], supplied))

    assert [competing("p"), competing("q"), competing("r")] == ["abc", "ad", "d"]
    assert competing("q", ["c", "d", "nowhere", "b"]) == "d"


@given(st.integers(1, 3650 * 86_400))
def test_durations_are_written_as_they_are_read(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


def test_the_schema_for_editors_takes_what_the_service_takes() -> None:
    schema = Catalog.model_json_schema(by_alias=True)
    jsonschema.Draft202012Validator.check_schema(schema)
    whole = yaml.safe_load(WHOLE)
    jsonschema.validate(json.loads(json.dumps(whole, default=str)), schema)
    assert reading.parse("c", WHOLE)[0].candidates[1].personal_window == timedelta(hours=24)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"placements": [], "candidates": [{"id": "a", "rulle": "true"}]}, schema)


def test_the_example_is_a_good_catalog() -> None:
    catalog, _ = reading.read(Path(__file__).parents[2] / "examples" / "catalog")
    assert len(catalog.candidates) == 5


WHOLE = f"""\
currency: EUR
defaults: {{placement: {{exploration: 0.1}}}}
placements:
  - {{id: p, default: a, channel: web, strategy: propensity, at_most: {{category: 2}}, pinned: [b]}}
groups: [{{id: g, at_most: 1}}]
caps:
  - {{id: often, per: [customer, category], limit: 3, period: 1d12h, scope: {{kinds: [offer], channels: [web]}}}}
budgets: [{{id: all, limit: 10000, period: 1d}}]
candidates:
  - {{id: a, kind: content}}
  - id: b
    group: g
    tags: [sale]
    value: candidate.price * 0.2
    rule: {SEEN} > 2.0 && 'vip' in segments && has(traits.plan)
    windows: [{{from: 2026-11-23, until: 2026-11-30}}, {{from: "2026-12-23T08:00:00+01:00"}}]
    personal_window: 24h
    stock: 100
    not_if_bought_within: 30d
    not_if_declined_within: 7d
    content: {{title: "Hello {{{{ traits.first_name }}}}"}}
    fallback: {{title: Hello}}
    content_for: [{{locale: de, content: {{title: Hallo}}}}]
"""
