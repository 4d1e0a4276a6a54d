"""A report's tables as texts, for terminal and browser alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.experiments.reports.schema import Comparison, MetricReport, Preference, Report, Value

DASH = "-"
FADING = 0.01
"""The p-value below which a slope is told."""
SHOWN = 10
"""Moves of weights that a table tells."""


class Sheet(msgspec.Struct, frozen=True):
    """A table and a line below it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def sheets(report: Report) -> list[Sheet]:
    """Who was enrolled; every metric; and where to look next."""
    if report.preference is not None:
        return [_preference(report, report.preference)]
    made = [_enrolled(report), *(_metric(report, metric) for metric in report.metrics)]
    if report.weights:
        made.append(_weights(report))
    if report.segments:
        made.append(_segments(report))
    return made


def share(value: float | None, signed: bool = False) -> str:
    """In percent.

    >>> share(0.0312), share(-0.004, signed=True), share(None)
    ('3.12 %', '-0.4 %', '-')
    """
    if value is None:
        return DASH
    return f"{100 * value:+.3g} %" if signed else f"{100 * value:.3g} %"


def courses(report: Report) -> list[str]:
    """Of effects that change with the days since the enrolment."""
    return [
        f"The effect of {course.variant} changes by {course.slope:+.2g} a day since the enrolment "
        f"(p = {course.p:.2g}): it may be the new that works, or a habit that has to form."
        for course in report.courses
        if course.slope is not None and course.p is not None and course.p < FADING
    ]


def _enrolled(report: Report) -> Sheet:
    rows = [
        (arm.id, f"{arm.units:,}", f"{arm.enrolled:,}", DASH if report.weighted else f"{arm.expected:,.0f}")
        for arm in report.arms
    ]
    p = "unknown" if report.mismatch.p is None else f"{report.mismatch.p:.3g}"
    note = f"{_left_out(report)} Shares as meant: p = {p}."
    if report.unconverted:
        note += f" {report.unconverted:,} orders in another currency count in no revenue."
    return Sheet("Units", ("variant", "in the analysis", "enrolled", "meant"), rows, note)


def _left_out(report: Report) -> str:
    out = report.left_out
    said = [
        (out.met_two, "met two variants"),
        (out.forced, "forced"),
        (out.bots, "bots"),
        (out.unassigned, "not assigned in time"),
        (out.merged, "the same person as another"),
    ]
    return f"Left out: {', '.join(f'{count:,} {what}' for count, what in said if count) or 'nobody'}."


def _preference(report: Report, found: Preference) -> Sheet:
    rows = [
        (
            team.variant,
            f"{team.clicks:,}",
            f"{team.units:,}",
            _span(share, found.share, found.low, found.high) if team.variant == found.variant else DASH,
            _number(found.p) if team.variant == found.variant else DASH,
            found.finding if team.variant == found.variant else "control",
        )
        for team in found.teams
    ]
    columns = ("variant", "clicks on its picks", "units that clicked more of it", "share", "p", "")
    note = f"{report.units:,} units saw slates of both; {found.tied:,} clicked none, or as often of both. "
    return Sheet("Interleaved", columns, rows, f"{note}{_left_out(report)} Interval at {report.confidence:.4g}.")


def _metric(report: Report, metric: MetricReport) -> Sheet:
    beside = {found.variant: found for found in metric.comparisons}
    columns = ("variant", "units", "value", "difference", "relative", "p", "best", "expected loss", "")
    rows = [_row(metric, value, beside.get(value.variant)) for value in metric.values]
    kind = f"guardrail, {metric.kind}" if metric.guardrail else metric.kind
    notes = [f"Intervals at {1 - metric.level:.4g}."]
    left = [value.variance_left for value in metric.values if value.variance_left is not None]
    if left and min(left) < 0.995:
        notes.append(f"The covariate left {share(sum(left) / len(left))} of the variance.")
    if metric == next((one for one in report.metrics if not one.guardrail), None):
        notes += courses(report)
    return Sheet(f"{metric.id} ({kind}, {metric.goal})", columns, rows, " ".join(notes))


def _row(metric: MetricReport, value: Value, found: Comparison | None) -> tuple[str, ...]:
    shown = share(value.value) if metric.kind == "conversion" else _number(value.value)
    first = (value.variant, f"{value.units:,}", shown)
    last = share(value.probability_best), _number(value.expected_loss)
    if found is None:
        return (*first, DASH, DASH, DASH, *last, "control")
    write = _points if metric.kind == "conversion" else _number
    span = _span(write, found.difference, found.low, found.high)
    relative = _span(_change, found.lift, found.lift_low, found.lift_high)
    return (*first, span, relative, _number(found.adjusted), *last, found.finding)


def _weights(report: Report) -> Sheet:
    """The first weights and the last ones; a drawing has them all."""
    chosen = report.weights if len(report.weights) <= SHOWN + 1 else [report.weights[0], *report.weights[-SHOWN:]]
    rows = [
        ("the beginning" if one.since is None else one.since, *(share(weight) for weight in one.weights.values()))
        for one in chosen
    ]
    times = len(report.weights) - 1
    note = f"Of new units, by the reward so far; moved {times:,} {'time' if times == 1 else 'times'}."
    return Sheet("Weights", ("since", *report.weights[0].weights), rows, note)


def _segments(report: Report) -> Sheet:
    rows = [
        (
            f"{one.name} = {one.label or '(not said)'}",
            one.variant,
            f"{one.units:,}",
            _span(_number, one.difference, one.low, one.high),
            share(one.lift, True),
            _number(one.adjusted),
        )
        for one in report.segments
    ]
    note = "For ideas, not for decisions; p by Benjamini and Hochberg over all segments."
    return Sheet("Segments", ("segment", "variant", "units", "difference", "relative", "p"), rows, note)


def _span(write: Callable[[float | None], str], value: float | None, low: float | None, high: float | None) -> str:
    return write(value) if low is None or high is None else f"{write(value)} ({write(low)} to {write(high)})"


def _change(value: float | None) -> str:
    return share(value, signed=True)


def _points(value: float | None) -> str:
    """Of a difference of rates."""
    return DASH if value is None else f"{100 * value:+.3g} points"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g}"
