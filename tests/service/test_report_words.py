"""What a report says of an experiment: figures, words, page, and the verbs that print them."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from service.experiments.inference import weighting
from service.experiments.reports import growing, html, reporting, terminal
from service.experiments.reports.trials import UnknownTrialError
from service.experiments.reports.units import LeftOut, Segment, Units
from tests.service.experimenting import DAY, HOUR, START, catalog, shop, trial, write

if TYPE_CHECKING:
    from features.home import Home
    from service.experiments.reports.schema import Report
    from service.experiments.reports.trials import Trial

CLICKS = {"id": "clicks", "event": "Promotion Clicked"}
HARM = {"id": "complaints", "event": "Complaint", "goal": "decrease", "guardrail": True}


def units_of(asked: Trial, rates: list[list[float]], each: int = 20_000, **fields: Any) -> Units:
    """Conversions of each metric by arm, exactly at their rates."""
    arms = len(asked.arms)
    arm = np.repeat(np.arange(arms), each)
    events = np.array([np.concatenate([np.arange(each) < rate * each for rate in of]) for of in rates], float)
    none = np.zeros_like(events)
    empty = np.zeros(0, np.int64)
    known: dict[str, Any] = {
        "arm": arm,
        "enrolled": START + np.arange(arms * each) % each * (8 * DAY // each),
        "chance": np.array(asked.shares)[arm],
        "segments": {},
        "events": events,
        "amount": events,
        "events_before": none,
        "amount_before": none,
        "daily": (empty, empty, empty, empty.astype(float), empty.astype(float)),
        "met_arm": arm,
        "met_chance": np.array(asked.shares)[arm],
        "left_out": LeftOut(),
        "unconverted": 0,
        "until": START + 30 * DAY,
    }
    return Units(**known | fields)


def told(analysis: dict[str, Any], rates: list[list[float]], over: bool = False, **fields: Any) -> Report:
    asked = trial({"metrics": [CLICKS], **analysis})
    return reporting.summarise(asked, units_of(asked, rates, **fields), over)


def test_a_better_variant_is_said_to_be_with_its_range_and_stopping_is_safe() -> None:
    verdict = told({}, [[0.05, 0.07]]).verdict
    assert (verdict.action, verdict.winner, verdict.safe_to_stop) == ("decide", "bold", True)
    assert re.fullmatch(r"bold is better than plain by [\d.]+ % to [\d.]+ % \(clicks\)\. Safe to stop\.", verdict.text)


def test_a_worse_variant_leaves_the_control_and_a_metric_may_have_to_fall() -> None:
    assert told({}, [[0.07, 0.05]]).verdict.winner == "plain"
    fall = told({"metrics": [CLICKS | {"goal": "decrease"}]}, [[0.07, 0.05]])
    assert fall.verdict.winner == "bold"
    assert "bold is better" in fall.verdict.text


def test_no_difference_is_said_with_what_is_still_possible() -> None:
    verdict = told({}, [[0.05, 0.0505]]).verdict
    assert (verdict.action, verdict.winner, verdict.safe_to_stop) == ("wait", None, False)
    assert "No difference from plain is known in clicks: bold -" in verdict.text


def test_a_fixed_experiment_is_not_read_before_its_time_and_then_once() -> None:
    early = told({"mode": "fixed", "units": 50_000}, [[0.05, 0.07]]).verdict
    assert (early.action, early.winner) == ("wait", None)
    assert "when 50,000 units are enrolled (40,000 so far)" in early.text
    assert told({"mode": "fixed", "units": 40_000}, [[0.05, 0.07]]).verdict.winner == "bold"
    over = told({"mode": "fixed", "units": 50_000}, [[0.05, 0.05]], over=True).verdict
    assert (over.action, over.safe_to_stop) == ("decide", True)
    assert "ended at 40,000 of the 50,000 units that were planned" in over.assumptions[-1]
    whole = told({"mode": "fixed", "units": 40_000}, [[0.05, 0.05]], over=True).verdict
    assert "planned" not in whole.assumptions[-1]


def test_a_mismatch_comes_before_everything() -> None:
    asked = trial({"metrics": [CLICKS]})
    arm = np.repeat([0, 1], [20_000, 21_000])
    units = units_of(asked, [[0.05, 0.09]], met_arm=arm, met_chance=np.full(41_000, 0.5))
    report = reporting.summarise(asked, units, over=False)
    assert report.mismatch.alarm
    assert (report.verdict.action, report.verdict.winner, report.verdict.safe_to_stop) == ("investigate", None, False)
    assert "of 41,000 units were enrolled in" in report.verdict.text
    assert "where 20,500 were meant (p < 0.001)" in report.verdict.text
    assert "investigate first" in report.verdict.text


def test_many_visitors_who_met_two_variants_come_first_too() -> None:
    verdict = told({}, [[0.05, 0.07]], left_out=LeftOut(met_two=412)).verdict
    assert verdict.text.startswith("412 of 40,000 visitors met more than one variant: investigate first.")


def test_a_guardrail_stops_in_every_mode_and_only_beyond_its_margin() -> None:
    metrics = {"metrics": [CLICKS, HARM]}
    for mode in ({"mode": "fixed", "units": 10**6}, {"mode": "sequential"}, {"mode": "bayesian"}):
        verdict = told(metrics | mode, [[0.05, 0.07], [0.02, 0.04]]).verdict
        assert (verdict.action, verdict.winner) == ("stop", None)
        assert "bold makes the guardrail complaints worse by" in verdict.text
    borne = told({"metrics": [CLICKS, HARM | {"margin": 1.0}]}, [[0.05, 0.07], [0.02, 0.025]]).verdict
    assert borne.action == "decide"
    assert told(metrics, [[0.05, 0.07], [0.04, 0.02]]).verdict.action == "decide"


def test_a_bayesian_experiment_is_decided_by_the_expected_loss() -> None:
    report = told({"mode": "bayesian"}, [[0.05, 0.07]])
    assert report.verdict.winner == "bold"
    assert "bold is the best for clicks with a probability of 100.0 %" in report.verdict.text
    close = told({"mode": "bayesian", "tolerated_loss": 1e-6}, [[0.05, 0.0501]]).verdict
    assert close.winner is None
    assert "Not enough to decide yet" in close.text
    assert (close.action, close.safe_to_stop) == ("wait", False)


@pytest.mark.parametrize("rates", [[0.0, 0.0], [0.0, 0.01]])
def test_a_bayesian_experiment_in_which_nothing_has_happened_yet_is_not_decided(rates: list[float]) -> None:
    verdict = told({"mode": "bayesian"}, [rates]).verdict
    assert (verdict.action, verdict.winner, verdict.safe_to_stop) == ("wait", None, False)


def test_metrics_and_variants_are_corrected_together_and_the_range_agrees_with_the_finding() -> None:
    metrics = [CLICKS, {"id": "orders", "event": "Order Completed"}]
    asked = trial({"metrics": metrics, "mode": "fixed", "units": 10}, variants=[{"id": name} for name in "abc"])
    report = reporting.summarise(asked, units_of(asked, [[0.05, 0.0551, 0.05], [0.1, 0.1, 0.1064]]), over=False)
    found = {(metric.id, one.variant): one for metric in report.metrics for one in metric.comparisons}
    assert found["clicks", "b"].p is not None
    assert found["clicks", "b"].adjusted == pytest.approx(4 * min(found["clicks", "b"].p, 1), rel=1.0)
    assert all(metric.level == pytest.approx(0.05 / 4) for metric in report.metrics)
    for one in found.values():
        assert one.low is not None
        assert one.high is not None
        assert (one.finding == "unclear") == (one.low < 0 < one.high)
    assert any("4 comparisons are corrected for together (Holm)" in one for one in report.verdict.assumptions)


def test_moved_chances_are_weighed_and_said() -> None:
    asked = trial({"metrics": [CLICKS]})
    chance = np.where(np.arange(40_000) % 2, 0.5, 0.25)
    chance = np.where(np.repeat([0, 1], 20_000) == 1, chance, 1 - chance)
    units = units_of(asked, [[0.05, 0.07]], chance=chance, met_chance=chance)
    report = reporting.summarise(asked, units, over=False)
    assert report.weighted
    expected = weighting.weigh(units.arm, 2, chance, units.events[0])
    values = [value.value for value in report.metrics[0].values]
    assert values == pytest.approx((expected.means[:, 0] / expected.means[:, 1]).tolist())
    assert "inverse of theirs" in " ".join(report.verdict.assumptions)


def test_segments_are_told_apart_with_correction() -> None:
    asked = trial({"metrics": [CLICKS], "segments": ["device"]})
    device = np.tile(np.repeat([0, 1], 10_000), 2)
    units = units_of(asked, [[0.05, 0.05]], segments={"device": Segment(device, ["mobile", "desktop"])})
    events = units.events.copy()
    events[0, (units.arm == 1) & (device == 1)] = np.arange(10_000) < 900
    report = reporting.summarise(asked, msgspec.structs.replace(units, events=events), over=False)
    found = {one.label: one for one in report.segments}
    assert set(found) == {"mobile", "desktop"}
    assert found["desktop"].adjusted is not None
    assert found["desktop"].adjusted < 1e-6
    assert found["desktop"].units == 20_000


def test_an_effect_that_wears_off_is_seen_by_the_day_since_the_enrolment() -> None:
    asked = trial({"metrics": [CLICKS]})
    units = units_of(asked, [[0.05, 0.07]], each=4000, enrolled=np.full(8000, START))
    owner, day = [], []
    for number in range(10):
        for at, rate in ((0, 0.10), (4000, 0.10 + 0.08 * 0.6**number)):
            chosen = at + np.arange(int(4000 * rate))
            owner += chosen.tolist()
            day += [number] * len(chosen)
    ones = np.ones(len(owner))
    daily = (np.array(owner), np.zeros(len(owner), np.int64), np.array(day), ones, ones)
    report = reporting.summarise(asked, msgspec.structs.replace(units, daily=daily), over=False)
    course = report.courses[0]
    assert course.since_enrolment[0].difference == pytest.approx(0.08, abs=1e-3)
    assert course.slope is not None
    assert course.slope < 0
    assert course.p is not None
    assert course.p < 0.01


def test_days_add_up_to_the_whole() -> None:
    asked = trial({"metrics": [CLICKS]})
    report = reporting.summarise(asked, units_of(asked, [[0.05, 0.06]]), over=False)
    last, whole = report.courses[0].so_far[-1], report.metrics[0].comparisons[0]
    assert last.units == 40_000
    assert (last.difference, last.low) == pytest.approx((whole.difference, whole.low))
    assert [one.day for one in report.courses[0].so_far] == list(range(8))


def test_a_shop_in_an_archive_is_reported_as_scipy_would_count_it(home: Home) -> None:
    write(home, shop(customers=700, lead=0.2))
    asked = trial({"mode": "fixed", "units": 10, "correction": "none", "segments": ["device"]})
    units = reporting.load(home, asked)
    report = reporting.summarise(asked, units, over=False)
    clicks = [units.events[0][units.arm == arm] > 0 for arm in (0, 1)]
    expected = stats.ttest_ind(clicks[1], clicks[0], equal_var=False)
    assert report.metrics[0].comparisons[0].p == pytest.approx(expected.pvalue)
    assert report.metrics[1].values[0].variance_left is not None
    assert report.metrics[1].values[0].variance_left < 0.9
    assert report.verdict.winner == "bold"


def test_nobody_enrolled_yet_is_said(home: Home) -> None:
    write(home, [])
    asked = trial()
    report = reporting.summarise(asked, reporting.load(home, asked), over=False)
    assert "Nobody is enrolled yet" in report.verdict.text
    msgspec.json.decode(msgspec.json.encode(report))


def test_a_page_stands_by_itself_and_escapes_what_others_named(home: Home) -> None:
    asked = trial({"metrics": [CLICKS | {"id": "<script>alert(1)</script>"}], "segments": ["device"]})
    write(home, shop(customers=500))
    page = html.render(reporting.summarise(asked, reporting.load(home, asked), over=False))
    assert "<script" not in page
    assert page.count("<svg") >= 2
    assert not re.findall(r'(?:src|href)="(?:http|//)', page)
    assert "What this assumes" in page


def test_the_terminal_shows_the_verdict_and_every_metric(home: Home) -> None:
    asked = trial({"segments": ["device"]})
    write(home, shop(customers=500))
    report = reporting.summarise(asked, reporting.load(home, asked), over=False)
    sink = io.StringIO()
    terminal.show(Console(file=sink, width=200), report)
    shown = sink.getvalue()
    for text in ("plain", "bold", "clicks", "spend", "basket", "complaints (guardrail", "device = mobile", "Left out"):
        assert text in shown
    assert report.verdict.text[:40] in shown
    narrow = io.StringIO()
    terminal.show(Console(file=narrow, width=60), report)
    assert "…" not in narrow.getvalue()


def test_the_live_catalogs_experiment_is_reported_and_an_unknown_one_is_refused(home: Home) -> None:
    home.catalog.parent.mkdir(parents=True, exist_ok=True)
    said = catalog(analysis={"metrics": [CLICKS]}) | {"holdout": {"share": 0.1}}
    home.catalog.write_bytes(msgspec.yaml.encode(said))
    write(home, shop(customers=100))
    assert reporting.report(home, "hero-test").units == 100
    assert [arm.id for arm in reporting.report(home, "holdout").arms] == ["held", "open"]
    with pytest.raises(UnknownTrialError, match="it has: hero-test"):
        reporting.report(home, "no-such")
    growing.forget(home)


def test_a_day_that_ends_an_experiment_counts_with_all_its_hours() -> None:
    from datetime import date
    from zoneinfo import ZoneInfo

    asked, zone = trial(ends=date(2023, 11, 15)), ZoneInfo("UTC")
    late = START / 1e6 + 23 * 3600
    assert not reporting.is_over(asked, zone, late)
    assert reporting.is_over(asked, zone, late + 2 * HOUR / 1e6)
    assert reporting.is_over(trial(status="stopped"), zone, late)
