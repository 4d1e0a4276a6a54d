"""The report on interleaved slates: clicks go to teams, once an item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from features.events.schema import Served, Slot
from service.experiments.inference import interleaving
from service.experiments.reports import growing, reporting, terminal
from service.experiments.reports.html import render
from tests.service.experimenting import DAY, HOUR, SECOND, START, decision, joined, track, trial, view, write

if TYPE_CHECKING:
    from features.events.schema import Event, Track
    from features.home import Home
    from service.experiments.reports.schema import Preference, Report
    from service.experiments.reports.trials import Trial

MIXED: dict[str, Any] = {"allocation": {"kind": "interleaved"}}
SLATE = (("c-1", "plain"), ("c-2", "bold"), ("c-3", "bold"), ("c-4", "plain"), ("c-5", None))


def asked(**analysis: Any) -> Trial:
    return trial({"metrics": [{"id": "clicks", "event": "Promotion Clicked"}]} | analysis, **MIXED)


def slate(number: int, customer: str, at: int, variant: str = "interleaved", **fields: Any) -> list[Event]:
    """A decision of an interleaved slate, and its view."""
    items = [
        Served(id=name, rank=rank, priority=1.0, value=1.0, team=team) for rank, (name, team) in enumerate(SLATE, 1)
    ]
    slots = [
        Slot(id="hero", limit=5, items=items, interleaved="hero-test"),
        Slot(id="foot", limit=5, items=items, interleaved="other"),
    ]
    made = msgspec.structs.replace(decision(number, customer, at, variant, **fields), placements=slots)
    return [made, view(number, customer, at + SECOND)]


def click(number: int, customer: str, at: int, item: str, placement: str = "hero") -> Track:
    about = {"decision_id": f"d-{number}", "placement": placement, "promotion_id": item}
    return track(customer, at, "Promotion Clicked", about)


def told(home: Home, events: list[Event], **analysis: Any) -> Report:
    write(home, events)
    of = asked(**analysis)
    return reporting.summarise(of, reporting.load(home, of), over=False)


def figures(report: Report) -> dict[str, tuple[int, int]]:
    assert report.preference is not None
    return {team.variant: (team.clicks, team.units) for team in report.preference.teams}


def test_a_click_is_the_teams_that_brought_the_item_in_once_a_slate(home: Home) -> None:
    report = told(
        home,
        [
            *slate(1, "a", START),
            click(1, "a", START + 5 * SECOND, "c-2"),
            click(1, "a", START + 6 * SECOND, "c-2"),
            click(1, "a", START + 7 * SECOND, "c-3"),
            click(1, "a", START + 8 * SECOND, "c-1"),
            *slate(2, "a", START + HOUR),
            click(2, "a", START + HOUR + 5 * SECOND, "c-2"),
            *slate(3, "b", START),
            click(3, "b", START + 9 * SECOND, "c-4"),
            *slate(4, "c", START),
            click(4, "c", START + 9 * SECOND, "c-5"),  # no team's
            click(4, "c", START + 10 * SECOND, "c-2", "foot"),  # of another experiment
            click(1, "c", START + 11 * SECOND, "c-9"),
            *slate(5, "d", START)[:1],  # never seen
            click(5, "d", START + 9 * SECOND, "c-2"),
        ],
    )
    assert figures(report) == {"plain": (2, 1), "bold": (3, 1)}
    assert (report.units, report.preference and report.preference.tied) == (3, 1)


def test_forced_ones_and_bots_are_left_out_and_joined_ids_are_one(home: Home) -> None:
    report = told(
        home,
        [
            *slate(1, "a", START, "bold", forced=["hero-test"]),
            click(1, "a", START + 5 * SECOND, "c-2"),
            *slate(2, "robot", START, bot=True),
            click(2, "robot", START + 5 * SECOND, "c-2"),
            *slate(3, "guest", START),
            *slate(4, "b", START + DAY),
            joined("guest", "b", START + DAY + 1),
            click(3, "b", START + DAY + HOUR, "c-2"),  # on the page that they saw before they signed in
            click(4, "b", START + DAY + HOUR, "c-3"),
        ],
    )
    assert figures(report) == {"plain": (0, 0), "bold": (2, 1)}
    assert (report.units, report.left_out.forced, report.left_out.merged) == (1, 1, 1)


def crowd(preferred: float, customers: int = 400, seed: int = 1) -> list[Event]:
    generator = np.random.default_rng(seed)
    events: list[Event] = []
    for number in range(customers):
        customer, at = f"c-{number}", START + number * SECOND * 60
        events += slate(number, customer, at)
        if generator.random() < 0.5:
            item = "c-2" if generator.random() < preferred else "c-1"
            events.append(click(number, customer, at + 9 * SECOND, item))
    return events


@pytest.mark.parametrize(
    ("preferred", "mode", "action", "winner"),
    [
        (0.75, {"mode": "sequential"}, "decide", "bold"),
        (0.25, {"mode": "fixed", "units": 400}, "decide", "plain"),
        (0.5, {"mode": "sequential"}, "wait", None),
        (0.75, {"mode": "fixed", "units": 500}, "wait", None),
    ],
)
def test_the_verdict_says_whose_ranking_is_preferred(
    home: Home, preferred: float, mode: dict[str, Any], action: str, winner: str | None
) -> None:
    report = told(home, crowd(preferred), **mode)
    assert (report.verdict.action, report.verdict.winner) == (action, winner)
    assert report.preference is not None
    assert_right(report.preference, preferred)
    if winner:
        assert report.verdict.text.startswith(f"{winner} ranks better than ")
    page, console = render(report), Console(record=True, width=200)
    terminal.show(console, report)
    for text in (page, console.export_text()):
        assert "units that clicked more of it" in text
        assert "team draft" in text


def assert_right(found: Preference, preferred: float) -> None:
    assert found.low is not None
    assert found.high is not None
    assert found.low <= preferred <= found.high


def test_growing_piece_by_piece_credits_as_reading_at_once(home: Home) -> None:
    events = sorted(crowd(0.7, 60), key=lambda event: event.received)
    for piece in np.array_split(np.array(events, dtype=object), 5):
        write(home, piece.tolist())
        grown = reporting.load(home, asked())
    growing.forget(home)
    whole = reporting.load(home, asked())
    assert grown.events.tolist() == whole.events.tolist()
    assert whole.events.sum() > 0


def test_the_interval_that_holds_at_all_times_is_wider_and_its_p_larger() -> None:
    credit = np.array([[1, 0]] * 70 + [[0, 1]] * 40)
    once, always = interleaving.prefer(credit), interleaving.follow(credit)
    assert always.low < once.low < once.share < once.high < always.high
    assert once.p < always.p < 1.0
    none = interleaving.follow(np.zeros((3, 2), np.int64))
    assert (none.low, none.high, none.p) == (0.0, 1.0, 1.0)
    one_sided = interleaving.follow(np.array([[1, 0]] * 5))
    assert (one_sided.high, 0 < one_sided.low < 1) == (1.0, True)
