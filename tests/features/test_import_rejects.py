"""What an import refuses: each row with its reason in a file, whole files and mappings with all that is wrong."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from features.documents import DocumentError
from features.imports.mapping import Mapping, read
from features.imports.sources import SourceError
from tests.features.imported import ORDERS, VIEWS, archived, digest, rejects, run, tracks, views, write

if TYPE_CHECKING:
    from features.home import Home

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def test_rejected_rows_stand_in_a_file_with_number_reason_and_content(home: Home, tmp_path: Path) -> None:
    rows = [{"who": "c", "when": "2024-03-01", "item": "a", "price": "1"} for _ in range(6)]
    rows[1]["who"] = " "
    rows[2]["when"] = "yesterday"
    rows[3]["when"] = "2999-01-01"
    rows[4]["price"] = "cheap"
    rows[5]["who"] = "c" * 257
    summary = run(home, VIEWS, write(tmp_path / "a.csv", rows))
    reasons = ["no customer", "no time", "time in the future", "price is not DOUBLE", "customer longer than 256"]
    assert summary.rejected == dict.fromkeys(reasons, 1)
    assert (summary.rows, summary.accepted, summary.events) == (6, 1, 1)
    found = rejects(summary)
    assert [(reject["file"], reject["row"], reject["reason"]) for reject in found] == [
        ("a.csv", number, reason) for number, reason in enumerate(reasons, 2)
    ]
    assert found[3]["values"] == rows[4]


def test_unreadable_csv_lines_are_rejected_and_the_others_keep_their_numbers(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(
        b"who,when,item,price\r\n"
        b'a,2024-03-01,"two\r\nlines",1\r\n'
        b"b,2024-03-01\r\n"
        b"c,2024-03-01,caf\xff,1\r\n"
        b",2024-03-01,x,1\r\n"
        b"d,2024-03-01,x,1,2\r\n"
        b'e,2024-03-01,"x"y,1\r\n'
        b"f,2024-03-01,x,1\r\n"
        b",2024-03-01,y,1"
    )
    summary = run(home, VIEWS, file)
    assert {event.customer for event in tracks(home)} == {"a", "f"}
    assert (summary.rows, summary.accepted, sum(summary.rejected.values())) == (8, 2, 6)
    found = {reject["row"]: (reject["reason"], reject.get("text")) for reject in rejects(summary)}
    assert found == {
        2: ("unreadable: missing columns", "b,2024-03-01"),
        3: ("unreadable: invalid encoding", "c,2024-03-01,caf?,1"),
        4: ("no customer", None),
        5: ("unreadable: too many columns", "d,2024-03-01,x,1,2"),
        6: ("unreadable: unquoted value", 'e,2024-03-01,"x"y,1'),
        8: ("no customer", None),
    }


def test_csv_of_another_encoding_and_delimiter_is_read_as_the_mapping_says(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("who;when;item;price\nc;2024-03-01;café, rouge;1\n".encode("latin-1"))
    run(home, VIEWS + "encoding: latin-1", file)
    assert tracks(home)[0].properties["product_id"] == "café, rouge"


def test_lines_that_are_no_json_object_are_rejected(home: Home, tmp_path: Path) -> None:
    good = '{"who": "c", "when": "2024-03-01", "item": "a", "price": 1}'
    lines = [good, "", '{"who": "c"', "[1]", good.replace("1}", "NaN}"), "\udcff", good.replace('"a"', '"b"')]
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", errors="surrogateescape") as file:
        file.write("\n".join(lines))
    summary = run(home, VIEWS, tmp_path / "a.jsonl.gz")
    assert [event.properties["product_id"] for event in tracks(home)] == ["a", "b"]
    assert summary.rejected == {"unreadable: not a JSON object": 4}
    assert [reject["row"] for reject in rejects(summary)] == [3, 4, 5, 6]


def test_numbers_that_json_does_not_have_are_left_out_or_rejected(home: Home, tmp_path: Path) -> None:
    rows = [
        {"who": "a", "when": "2024-03-01", "item": "NaN", "price": float("nan"), "parts": {"x": 1.0}},
        {"who": "b", "when": "2024-03-01", "item": "b", "price": 1.0, "parts": {"x": float("inf")}},
    ]
    mapping = VIEWS.replace("price: price}", "price: price, parts: parts}")
    summary = run(home, mapping, write(tmp_path / "a.parquet", rows))
    assert [event.properties for event in tracks(home)] == [{"product_id": "NaN", "parts": {"x": 1.0}}]
    assert summary.rejected == {"a number that JSON does not have": 1}
    assert (summary.accepted, summary.events, summary.repeated) == (1, 1, 0)


def test_an_order_that_comes_back_with_other_lines_stays_as_it_was(home: Home, tmp_path: Path) -> None:
    lines = [
        {"who": "c", "when": "2024-03-01", "number": number, "item": item, "price": 1.0, "quantity": 1}
        for number, item in (("n-1", "a"), ("n-1", "b"), ("n-2", "c"))
    ]
    run(home, ORDERS, write(tmp_path / "1.csv", lines))
    before = digest(home)
    summary = run(home, ORDERS, write(tmp_path / "2.csv", [*lines[1:], {**lines[1], "item": "d"}]))
    assert summary.rejected == {"an event of the archive with other rows": 2}
    assert (summary.accepted, summary.events, summary.known) == (1, 0, 1)
    assert [name for name in digest(home) if name not in before] == []


def test_an_expression_that_fails_for_a_row_rejects_or_leaves_out_and_never_ends_the_import(
    home: Home, tmp_path: Path
) -> None:
    mapping = VIEWS.replace("price: price}", "price: price, half: half}") + (
        "derive: {half: CAST(item AS INTEGER) / 2}\nwhere: [{keep: CAST(item AS INTEGER) < 9, reason: large}]"
    )
    summary = run(home, mapping, write(tmp_path / "a.csv", views(["4", "x", "10"])))
    assert summary.rejected == {"large": 2}
    assert tracks(home)[0].properties == {"product_id": "4", "price": 1.5, "half": 2.0}


@pytest.mark.parametrize("expression", ["read_text('{}')", "(SELECT content FROM read_text('{}'))", "getenv('HOME')"])
def test_an_expression_reads_nothing_but_the_files(home: Home, tmp_path: Path, expression: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    mapping = VIEWS.replace("price: price}", 'price: "' + expression.format(secret) + '"}')
    with pytest.raises(DocumentError, match=r"properties\.price"):
        run(home, mapping, write(tmp_path / "a.csv", views("a")))
    assert archived(home) == []


@pytest.mark.parametrize("zone", ["Mars", "Europe"])
def test_a_broken_mapping_is_refused_with_every_error_at_its_place(home: Home, tmp_path: Path, zone: str) -> None:
    mapping = """\
colums: {}
columns:
  time: when
  event: {value: View, column: what}
where:
  - {keep: "price >", reason: dear}
group: {by: [], products: {name: item}}
time_zone: Mars
types: {price: 3.5, "": BIGINT}
delimiter: "||"
candidates: {id: item, currency: euro}
"""
    with pytest.raises(DocumentError) as refused:
        run(home, mapping.replace("Mars", zone), write(tmp_path / "a.csv", views("a")))
    places = {
        re.sub(r"^.*mapping\.yaml:(\d+):\d+: ([^:]*).*$", r"\1 \2", problem) for problem in refused.value.problems
    }
    assert places == {
        "1 colums",
        "4 columns.event",
        "6 where[0].keep",
        "7 group.by",
        "7 group.products",
        "8 time_zone",
        "9 types..[key]",
        "10 delimiter",
        "11 candidates.currency",
        "11 candidates.placement",
    }


def test_expressions_that_do_not_fit_the_files_are_refused_all_at_once(home: Home, tmp_path: Path) -> None:
    mapping = """\
types: {price: MONEY, cost: DOUBLE}
columns: {customer: whom, time: price, event: item}
derive:
  wrong: item + nothing
  fine: upper(item)
  uses: wrong || fine
properties: {a: fine, b: uses, c: nosuch(item)}
where: [{keep: length(item), reason: x}]
group: {by: [sum(item)], products: {product_id: fine}, sums: {total: current_date}}
order_by: [Unit Price]
"""
    with pytest.raises(DocumentError) as refused:
        run(home, mapping, write(tmp_path / "a.csv", views("a")))
    assert re.findall(r"mapping\.yaml:(\d+):\d+: ([^:]*)", str(refused.value)) == [
        ("1", "types.price"),
        ("1", "types.cost"),
        ("4", "derive.wrong"),
        ("2", "columns.customer"),
        ("7", "properties.c"),
        ("8", "where[0].keep"),
        ("9", "group.by[0]"),
        ("9", "group.sums.total"),
        ("10", "order_by[0]"),
    ]
    assert "there is no column 'whom'; there are who, when, item, price" in str(refused.value)


def test_numbers_as_times_need_a_format(home: Home, tmp_path: Path) -> None:
    rows = [{"who": "c", "when": 1709287200, "item": "a", "price": 1.0}]
    with pytest.raises(DocumentError, match=r"columns.time: a number: say with time_format which, one of unix_s"):
        run(home, VIEWS, write(tmp_path / "a.parquet", rows))


@pytest.mark.parametrize("missing", ["customer: who, ", "when"])
def test_a_mapping_without_customer_or_time_is_refused(home: Home, tmp_path: Path, missing: str) -> None:
    with pytest.raises(DocumentError, match=r"mapping\.yaml:2:\d+: columns"):
        run(home, VIEWS.replace(missing, ""), write(tmp_path / "a.csv", views("a")))


def test_all_files_that_cannot_be_imported_are_named(home: Home, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(SourceError) as refused:
        run(home, VIEWS, tmp_path / "empty", tmp_path / "a.txt", tmp_path / "b.csv")
    assert [name in str(refused.value) for name in ("empty", "a.txt", "b.csv")] == [True] * 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"who,,when\n"),
        ("a.csv", b"who,WHO\n1,2\n"),
        ("a.csv", b"who,#row\n1,2\n"),
        ("a.csv.gz", b"no gzip"),
        ("a.jsonl", b"nothing\n"),
        ("a.jsonl", b""),
        ("a.parquet", b"PAR1"),
    ],
)
def test_a_file_without_structure_is_refused_by_name(home: Home, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=re.escape(name)):
        run(home, VIEWS, tmp_path / name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_mappings(example: Path) -> None:
    _, mapping = read(example)
    assert isinstance(mapping, Mapping)
    assert mapping.candidates is not None
