"""One declaration, live and backfilled: `kairos features` as a user runs it, and what it does when the two differ."""

from __future__ import annotations

import doctest
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

import kairos
from features import additions, agreement, archive, declaring
from features.aggregates.aging import DAY
from features.aggregates.declared import VIEWS, Aggregate, DeclarationError
from features.aggregates.derived import DERIVED
from features.aggregates.given import ATTRIBUTES, REQUESTED
from features.aggregates.keyed import Affinity
from features.aggregates.kinds import Decayed, Rate
from features.aggregates.rows import LAYOUTS, pack
from features.aggregates.windows import Distinct, Sum
from features.declaring import Words, declare
from features.events.schema import Identify
from features.home import Home
from tests.features import oracle
from tests.features.behaviour import SECOND, behave

if TYPE_CHECKING:
    from features.events.schema import Event

ROOT = Path(__file__).parents[2]
END = 1_760_000_000 * SECOND
HEAVY = ("feast", "mlflow", "lightgbm", "pandas", "numpy", "litestar", "matplotlib", "duckdb", "redis")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kairos", "features", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


def fill(home: Home, events: list[Event]) -> None:
    """Put the events into the home's archive, as an import does."""
    entries = [archive.entry(number + 1, event) for number, event in enumerate(events)]
    archive.write(home.events, "import-tests", archive.tabulate(archive.IMPORTED, entries))


def history_of_visitors() -> list[Event]:
    """Behaviour, in the midst of which two visitors sign in and a third turns out to be one of them."""
    events = behave(11, 300, END)
    for at, customer, user in ((250, "ann", "eve"), (150, "bob", "known"), (100, "cleo", "known")):
        happened = events[at].time
        link = Identify(
            message_id=f"join-{at}", customer=customer, anonymous_id=customer, user_id=user, time=happened, received=END
        )
        events.insert(at, link)
    return events


def test_every_declared_feature_is_the_same_live_and_backfilled(home: Home, tmp_path: Path) -> None:
    fill(home, history_of_visitors())
    before = sorted(home.root.rglob("*"))
    aggregates = [aggregate for aggregates in VIEWS.values() for aggregate in aggregates]
    steps: dict[str, tuple[int, int]] = {}
    report = additions.check(
        home, Home(tmp_path / "scratch"), aggregates, 0, 3, lambda step, done, of: steps.update({step: (done, of)})
    )
    assert [one.aggregate for one in report.compared] == aggregates
    assert report.events == 303
    assert len(report.instants) == 3
    assert report.rows > 50
    for one in report.compared:
        assert one.difference == agreement.Difference(one.difference.values), one.aggregate.name
        assert one.difference.values >= 3
        assert one.events
    assert steps.keys() == {"live", "backfill"}
    assert all(done == of for done, of in steps.values())
    assert sorted(home.root.rglob("*")) == before


def test_only_the_newest_events_are_taken_where_a_number_is_given(home: Home, tmp_path: Path) -> None:
    fill(home, behave(5, 60, END))
    aggregates = list(VIEWS["candidate"])
    report = additions.check(home, Home(tmp_path / "scratch"), aggregates, 20, 40, lambda *_: None)
    assert report.events == 20
    assert len(report.instants) == 20
    assert all(one.difference.agrees for one in report.compared)


def test_an_empty_archive_is_refused_before_anything_starts(home: Home, tmp_path: Path) -> None:
    with pytest.raises(additions.AdditionError, match="has no events: import or send some"):
        additions.check(home, Home(tmp_path / "scratch"), list(VIEWS["customer"]), 0, 1, lambda *_: None)
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize(
    ("options", "name", "line"),
    [
        (
            ["--kind", "distinct", "--length", "3d", "--event", "Product Viewed", "--key", "candidate"],
            "customer__product_viewed__distinct_3d",
            'kind=Distinct(length=259200.0, bound=64), key="candidate"',
        ),
        (
            ["--kind", "decayed", "--half-life", "3d", "--event", "Product Viewed"],
            "candidate__product_viewed__decayed_3d",
            "kind=Decayed(half_life=259200.0)",
        ),
        (
            ["--kind", "transition", "--half-life", "2d", "--event", "Product Viewed", "--key", "candidate"],
            "successors__product_viewed__transition_2d",
            "kind=Transition(half_life=172800.0, bound=64, strength=1.0)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "__" in value else "",
)
def test_a_new_declaration_is_backfilled_and_live_and_the_same_before_it_is_added(
    home: Home, options: list[str], name: str, line: str
) -> None:
    fill(home, history_of_visitors())
    entity = name.partition("__")[0]
    answer = run("check", *options, "--entity", entity, "--home", home.root, "--instants", "2")
    assert answer.returncode == 0, answer.stderr
    [row] = [text.split() for text in answer.stdout.splitlines() if text.startswith(name)]
    assert row[-2:] == ["0", "agrees"]
    assert int(row[2]) > 10
    assert "303 events" in answer.stdout
    assert line in answer.stdout


IMPURE = """
import sys, tempfile
from pathlib import Path
from features.aggregates import declared
from features.aggregates.aging import DAY
from features.aggregates.kinds import Decayed

class Moody(Decayed, frozen=True):
    calls = 0
    def update(self, state, time, amount, part):
        Moody.calls += 1
        super().update(state, time, amount * Moody.calls, part)

declared.KINDS["moody"] = Moody
moody = declared.Aggregate(entity="customer", subject="moody", events=declared.VIEWED, kind=Moody(2 * DAY))
declared.extend(moody)
sound = declared.Aggregate(entity="customer", subject="sound", events=declared.VIEWED, kind=Decayed(2 * DAY))

from features import additions, listing
from features.home import Home

report = additions.check(
    Home(Path(sys.argv[1])), Home(Path(sys.argv[2])), [moody, *declared.CUSTOMER], 0, 2, lambda *_: None
)
sys.exit(0 if listing.show_check(report) else 1)
"""


def test_a_kind_whose_states_are_more_than_its_events_is_found_out_and_no_other(home: Home, tmp_path: Path) -> None:
    fill(home, behave(4, 80, END))
    answer = subprocess.run(
        [sys.executable, "-c", IMPURE, home.root, tmp_path / "scratch"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert answer.returncode == 1, answer.stderr
    assert [line.split()[0] for line in answer.stdout.splitlines() if "DIFFERS" in line] == [
        "customer__moody__decayed_2d"
    ]
    assert answer.stdout.count("agrees") == len(VIEWS["customer"])


def test_differences_are_found_in_values_in_keys_and_where_one_side_says_nothing() -> None:
    layout, now = LAYOUTS["customer"], END / 1e6
    row = oracle.advance(behave(7, 60, END))[0]["bob"]
    numbers, ids = pack(row)
    same = agreement.compare(layout, [(numbers, ids)], [(list(numbers), list(ids))], now)
    assert all(one.agrees and one.largest == 0.0 and one.values for one in same.values())
    names = [aggregate.name for aggregate in layout.aggregates]
    starts = np.cumsum([0] + [aggregate.kind.slots for aggregate in layout.aggregates])
    first_seen = int(starts[names.index("customer__any__first_seen")])
    changed = list(numbers)
    changed[first_seen] -= 5.0
    later = agreement.compare(layout, [(numbers, ids)], [(changed, ids)], now)
    assert {name for name, one in later.items() if not one.agrees} == {"customer__any__first_seen"}
    assert later["customer__any__first_seen"].largest == pytest.approx(5.0)
    changed[first_seen] = 0.0
    missing = agreement.compare(layout, [(numbers, ids)], [(changed, ids)], now)
    assert missing["customer__any__first_seen"].largest == math.inf
    swapped = list(ids)
    swapped[-1] += 1  # the last key of the last table
    keyed = agreement.compare(layout, [(numbers, ids)], [(numbers, swapped)], now)
    assert {name.rpartition("_")[0] for name, one in keyed.items() if not one.agrees} == {names[-1]}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            Words(kind="rate", events=["A b"], tries=["C"], half_life="36h", prior=0.5),
            Aggregate(
                entity="customer", subject="a_b", events=(("A b",), ("C",)), kind=Rate(1.5 * DAY, 0.5), value="one"
            ),
        ),
        (
            Words(kind="sum", events=["Order Completed"], length="1.5d", hop="90m", value="revenue", subject="spent"),
            Aggregate(
                entity="customer",
                subject="spent",
                events=(("Order Completed",),),
                kind=Sum(1.5 * DAY, 5400.0),
                value="revenue",
            ),
        ),
        (
            Words(kind="distinct", events=["A", 'B "c"'], length="30s", bound=9, key="category"),
            Aggregate(entity="customer", subject="a", events=(("A", 'B "c"'),), kind=Distinct(30.0, 9), key="category"),
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Words) else "",
)
def test_words_become_a_declaration_and_the_line_to_add_is_the_same_one(words: Words, expected: Aggregate) -> None:
    assert declare(words) == expected
    known = {"Aggregate": Aggregate, "Rate": Rate, "Sum": Sum, "Distinct": Distinct}
    assert eval(f"[{declaring.write(expected)}]", known) == [expected]  # noqa: S307  # the line is to be Python


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (Words(kind="horoscope", events=["A"]), "no kind 'horoscope': there are affinity, count, decayed"),
        (Words(kind="decayed", events=["A"]), "decayed needs --half-life"),
        (Words(kind="decayed", events=["A"], half_life="3 days"), "--half-life '3 days' is not a duration"),
        (Words(kind="decayed", events=["A"], half_life="0d"), "half_life must be a positive number"),
        (Words(kind="decayed", events=["A"], half_life="3d", hop="1h"), "decayed has no --hop: it takes --half-life"),
        (Words(kind="recency", events=["A"], bound=3), "recency has no --bound: it takes no parameters"),
        (Words(kind="decayed", events=[], half_life="3d", subject="a"), "decayed takes 1 group"),
        (Words(kind="decayed", events=["!"], half_life="3d"), "the subject '' is not a word"),
        (Words(kind="decayed", events=["A"], half_life="3d", subject="A:b"), "the subject 'A:b' is not a word"),
        (Words(kind="decayed", events=["A"], tries=["B"], half_life="3d"), "decayed takes 1 group"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_words_that_say_nothing_sound_are_refused(words: Words, reason: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        declare(words)
    assert str(refused.value).startswith(reason)


def test_declared_features_are_found_by_their_names_and_by_what_they_give() -> None:
    recency, favourite = VIEWS["customer"][0], next(one for one in VIEWS["customer"] if isinstance(one.kind, Affinity))
    assert declaring.find([recency.name, favourite.outputs[0]]) == [recency, favourite]
    assert declaring.find([]) == [aggregate for aggregates in VIEWS.values() for aggregate in aggregates]
    with pytest.raises(DeclarationError, match="horoscope is not declared"):
        declaring.find(["horoscope"])
    with pytest.raises(DeclarationError, match="has no state of its own"):
        declaring.find([DERIVED[0]])


def test_another_parameter_gives_another_name_to_the_feature_and_to_the_stored_state() -> None:
    aggregate = next(one for one in VIEWS["customer"] if isinstance(one.kind, Decayed))
    other = msgspec.structs.replace(aggregate, kind=Decayed(aggregate.kind.half_life + 60.0))  # type: ignore[union-attr]  # of Decayed
    assert other.name != aggregate.name
    from features.aggregates.rows import lay_out

    assert lay_out("customer", (other,)).numbers != lay_out("customer", (aggregate,)).numbers


def test_what_is_declared_already_or_comes_with_an_empty_archive_is_one_line(home: Home) -> None:
    for options, reason in (
        (["--kind", "decayed", "--half-life", "7d", "--event", "Product Viewed"], "is declared already"),
        (["customer__any__recency"], "has no events"),
    ):
        answer = run("check", *options, "--home", home.root)
        assert answer.returncode == 1
        [line] = [line for line in answer.stderr.splitlines() if line]
        assert line.startswith("kairos: ")
        assert reason in line


def test_the_list_has_every_feature_with_its_kind_and_parameters() -> None:
    answer = run("list")
    assert answer.returncode == 0, answer.stderr
    lines = {line.split()[0]: " ".join(line.split()) for line in answer.stdout.splitlines() if line.strip()}
    names = [aggregate.name for aggregates in VIEWS.values() for aggregate in aggregates]
    names += [*DERIVED, *(given.name for given in (*ATTRIBUTES, *REQUESTED))]
    assert lines.keys() >= set(names)
    history = lines["customer__order_completed__history_512"]
    assert "history bound 512 Order Completed candidate count, total, recency, since" in history
    assert "half_life 1d, prior 0.05, strength 20" in lines["candidate__promotion__rate_1d"]


@pytest.mark.parametrize("arguments", [["features", "--help"], ["features", "check", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        f"import sys, kairos; kairos.build({arguments})({arguments}, result_action='return_value');"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "[]"
    assert kairos.VERBS["features"][1] in run("--help").stdout


def test_the_examples_in_the_documentation_are_true() -> None:
    results = doctest.testmod(declaring)
    assert results.attempted
    assert not results.failed
