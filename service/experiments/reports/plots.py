"""A report's figures: effects with their intervals, and how they came to be."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from service.experiments.reports.schema import Comparison, Course, Day, MetricReport, Preference, Report

INK, ACCENT, MUTED, BAD = "#222222", "#1f6feb", "#9aa4b2", "#c93c37"


def draw(report: Report) -> dict[str, Figure]:
    """Title -> figure."""
    if report.preference is not None:
        return {"Whose picks are clicked": _draw_preference(report.preference)}
    figures = {"Effects by metric": draw_effects(report)}
    primary = next(metric for metric in report.metrics if not metric.guardrail)
    if any(course.so_far for course in report.courses):
        figures[f"{primary.id}: as it came to be"] = _draw_courses(
            report.courses, "so_far", "days since the first unit"
        )
    if any(len(course.since_enrolment) > 1 for course in report.courses):
        title = f"{primary.id}: by the day since each unit's enrolment"
        figures[title] = _draw_courses(report.courses, "since_enrolment", "day")
    if len(report.weights) > 1:
        figures["Weights as they moved"] = _draw_weights(report)
    return figures


def draw_effects(report: Report) -> Figure:
    """Each variant's effect relative to the control, in each metric; the colour says what was found."""
    rows = [(metric, found) for metric in report.metrics for found in metric.comparisons]
    figure = Figure(figsize=(7.5, 0.45 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, (metric, found) in enumerate(rows):
        _bar(axes, place, metric, found)
    axes.set_yticks(range(len(rows)), [f"{metric.id}: {found.variant}" for metric, found in rows], fontsize=8)
    axes.axvline(0, color=MUTED, lw=1)
    axes.set(xlabel=f"relative to {report.control}, in %", ylim=(len(rows) - 0.5, -0.5))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _draw_preference(found: Preference) -> Figure:
    """The share of units that clicked more of the variant, with its interval."""
    figure = Figure(figsize=(7.5, 1.4), layout="constrained")
    axes = figure.subplots()
    axes.axvline(50, color=MUTED, lw=1)
    if found.share is not None and found.low is not None and found.high is not None:
        color = {"better": ACCENT, "worse": BAD, "unclear": MUTED}[found.finding]
        axes.plot([100 * found.low, 100 * found.high], [0, 0], color=color, lw=3, solid_capstyle="butt")
        axes.plot([100 * found.share], [0], "o", color=INK, ms=4)
    axes.set(xlim=(0, 100), yticks=[], xlabel=f"units that clicked more of {found.variant}, in %")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure


def _draw_weights(report: Report) -> Figure:
    """The share of new units of each variant, from the first move on."""
    figure = Figure(figsize=(7.5, 2.6), layout="constrained")
    axes = figure.subplots()
    times = [datetime.fromisoformat(one.since) for one in report.weights if one.since]
    edges = [
        times[0] - (times[-1] - times[0]) / 20 - timedelta(minutes=1),
        *times,
        datetime.fromisoformat(report.as_of),
    ]
    for name in report.weights[0].weights:
        shares = [100 * one.weights[name] for one in report.weights]
        axes.step(edges, [*shares, shares[-1]], where="post", lw=1.5, label=name)  # type: ignore[arg-type]  # as dates
    axes.set(ylim=(0, 100), ylabel="share of new units, in %")
    axes.legend(frameon=False, fontsize=8)
    figure.autofmt_xdate()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _bar(axes: Axes, place: int, metric: MetricReport, found: Comparison) -> None:
    if found.lift is None or found.lift_low is None or found.lift_high is None:
        axes.text(0, place, " not known", va="center", fontsize=8, color=MUTED)
        return
    color = {"better": ACCENT, "worse": BAD, "unclear": MUTED}[found.finding]
    axes.plot([100 * found.lift_low, 100 * found.lift_high], [place, place], color=color, lw=3, solid_capstyle="butt")
    axes.plot([100 * found.lift], [place], "s" if metric.guardrail else "o", color=INK, ms=4)


def _draw_courses(courses: list[Course], name: str, label: str) -> Figure:
    figure = Figure(figsize=(7.5, 2.6 * len(courses)), layout="constrained")
    for axes, course in zip(figure.subplots(len(courses), squeeze=False)[:, 0], courses, strict=True):
        days: list[Day] = [one for one in getattr(course, name) if one.low is not None and one.high is not None]
        at = [one.day for one in days]
        axes.fill_between(at, [one.low or 0 for one in days], [one.high or 0 for one in days], color=ACCENT, alpha=0.15)
        axes.plot(at, [one.difference or 0 for one in days], "o-", color=ACCENT, ms=3, lw=1.5)
        axes.axhline(0, color=MUTED, lw=1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set(xlabel=label, ylabel="difference", title=course.variant)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure
