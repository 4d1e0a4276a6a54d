"""Audiences over real customers in a real store: who gets what, who gets nothing and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import csv

from models.bundle import load
from service.audiences import files
from service.audiences.selecting import NO_CONSENT
from service.decisions.choose import choose
from service.decisions.explain import explain_items
from service.decisions.replaying import ask_again, record_again
from tests.service import shop
from tests.service.crowd import NOW, VIEWS, customer, decisions, filler, frame, make, rows

if TYPE_CHECKING:
    from pathlib import Path

    from features.settings import Settings


@pytest.fixture
def fill(settings: Settings, redis_url: str) -> Any:
    return filler(settings, redis_url)


def test_everybody_gets_what_the_same_choice_gives_them_alone(
    settings: Settings, redis_url: str, fill: Any, tmp_path: Path
) -> None:
    crowd = [customer(f"c-{number:03}", number % 12, (number * 5) % 12) for number in range(620)]
    fill(*crowd)
    done = make(settings, tmp_path / "all.parquet")
    assert (done.status, done.customers, done.done, done.given) == ("done", 620, 620, 620)
    found = rows(tmp_path / "all.parquet")
    assert [row["customer"] for row in found] == [row.text for row in crowd]
    assert all(row["rung"] == "model" and row["reason"] is None for row in found)
    assert {row["candidate"] for row in found} <= {*shop.OFFERS} - {"o-0", "o-3"}  # defaults are what is left to a page
    assert len({row["candidate"] for row in found}) > 1
    logged = {decision.customer: decision for decision in decisions(redis_url)}
    assert len(logged) == 620
    live = frame(settings, redis_url)
    bundle = load(settings.home.bundles / "offers" / "1")
    for row in found[::7]:
        decision = logged[row["customer"]]
        assert decision.decision_id == row["decision_id"]
        assert record_again(decision, live, {"champion": bundle}) == decision
        again = choose(ask_again(decision, live, {"champion": bundle})).slates[0]
        [picked] = again.picks
        assert again.propensity is not None
        assert live.compiled.candidates[int(again.pool.places[picked.at])].id == row["candidate"]
        assert float(again.propensity[picked.at]) == row["propensity"]
        assert float(again.priority[picked.at]) == row["priority"] == decision.placements[0].items[0].priority


def test_a_rule_says_whom_it_is_about(settings: Settings, fill: Any, tmp_path: Path) -> None:
    fill(customer("keen", 1, 2, 3), customer("calm", 1), customer("new"))
    done = make(settings, tmp_path / "keen.csv", f"{VIEWS} >= 2.0")
    assert (done.given, done.outside, done.unknown) == (1, 2, 0)
    table = csv.read_csv(tmp_path / "keen.csv")
    assert table["customer"].to_pylist() == ["keen"]
    done = make(settings, tmp_path / "bought.csv", "features.customer__order_completed__recency < 60.0")
    assert (done.given, done.unknown) == (0, 3)  # nobody ever ordered
    assert make(settings, tmp_path / "none.csv", "traits.plan == 'gold'").unknown == 3


def test_consent_is_respected(settings: Settings, redis_url: str, fill: Any, tmp_path: Path) -> None:
    fill(
        customer("silent", 1),
        customer("refused", 1, consent={"marketing": (NOW, False)}),
        customer("generic", 1, consent={"personalisation": (NOW, False)}),
        customer("untracked", 1, consent={"tracking": (NOW, False)}),
        customer("gone", 1, owner="silent", linked=NOW),
    )
    done = make(settings, tmp_path / "a.parquet")
    assert (done.customers, done.joined, done.given, done.nothing) == (5, 1, 3, {NO_CONSENT: 1})
    found = {row["customer"]: row for row in rows(tmp_path / "a.parquet")}
    assert set(found) == {"silent", "refused", "generic", "untracked"}
    assert (found["refused"]["candidate"], found["refused"]["reason"]) == (None, NO_CONSENT)
    assert found["generic"]["best_hour"] is None
    assert found["silent"]["best_hour"] is not None
    logged = {decision.customer: decision for decision in decisions(redis_url)}
    assert set(logged) == {"silent", "generic"}
    assert logged["generic"].state is None
    fill(customer("silent", 1), consent={})  # who says nothing has not agreed
    assert make(settings, tmp_path / "b.parquet").given == 0


def test_what_is_wrong_is_said_before_anything_is_done(settings: Settings, fill: Any, tmp_path: Path) -> None:
    fill(customer("c", 1))
    for asked, path, words in (
        ({"placement": "letter"}, "a.csv", "no placement 'letter'"),
        ({"where": "features.horoscope > 1.0"}, "a.csv", "no feature 'horoscope'"),
        ({"where": f"{VIEWS} >"}, "a.csv", "rule"),
        ({"where": f"{VIEWS} > 'two'"}, "a.csv", "types"),
        ({"at": "tomorrow"}, "a.csv", "no time"),
        ({}, "a.xlsx", ".parquet or .csv"),
        ({}, "missing/a.csv", "cannot be written"),
        ({}, ".", ".parquet or .csv"),
    ):
        with pytest.raises(files.AudienceError, match=words):
            make(settings, tmp_path / path, **asked)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(files.AudienceError, match="cannot be written"):
        make(settings, tmp_path / "folder.csv")
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".csv", ".new")] == ["folder.csv"]


def test_a_store_without_customers_gives_a_file_without_rows(settings: Settings, fill: Any, tmp_path: Path) -> None:
    fill()
    assert make(settings, tmp_path / "empty.parquet").customers == 0
    assert rows(tmp_path / "empty.parquet") == []


def test_the_file_says_why_and_what_moved_the_score_if_asked(
    settings: Settings, redis_url: str, fill: Any, tmp_path: Path
) -> None:
    fill(customer("ada", 1, 2, 3), customer("bob", 4))
    make(settings, tmp_path / "plain.parquet", rehearse=True)
    plain = {row["customer"]: row for row in rows(tmp_path / "plain.parquet")}
    for row in plain.values():  # all but o-0 and o-3, placements' defaults, compete
        value = 1 + int(row["candidate"].removeprefix("o-")) % 5
        assert row["why"] == f"place 1 of 10 by propensity {row['propensity']:.4g} x value {value} x weight 1"
    make(settings, tmp_path / "told.parquet", explain=True)
    live, bundle = frame(settings, redis_url), load(settings.home.bundles / "offers" / "1")
    logged = {decision.customer: decision for decision in decisions(redis_url)}
    for row in rows(tmp_path / "told.parquet"):
        decision = logged[row["customer"]]
        [slate] = choose(ask_again(decision, live, {"champion": bundle})).slates
        [item] = explain_items(slate, [slate.picks[0].at], [row["candidate"]])
        words = [one.words for one in item.contributions[:3]]
        assert row["why"] == "; ".join([plain[row["customer"]]["why"], *words])
        assert "the score" in row["why"]
