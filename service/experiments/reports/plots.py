"""A report's figures: effects with their intervals, and how they came to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from service.experiments.reports.schema import Comparison, Course, Day, MetricReport, Report

INK, ACCENT, MUTED, BAD = "#222222", "#1f6feb", "#9aa4b2", "#c93c37"


def draw(report: Report) -> dict[str, Figure]:
    """Title -> figure."""
    figures = {"Effects by metric": draw_effects(report)}
    primary = next(metric for metric in report.metrics if not metric.guardrail)
    if any(course.so_far for course in report.courses):
        figures[f"{primary.id}: as it came to be"] = _draw_courses(
            report.courses, "so_far", "days since the first unit"
        )
    if any(len(course.since_enrolment) > 1 for course in report.courses):
        title = f"{primary.id}: by the day since each unit's enrolment"
        figures[title] = _draw_courses(report.courses, "since_enrolment", "day")
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
    axes.invert_yaxis()
    axes.set(xlabel=f"relative to {report.control}, in %")
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
        axes.set(xlabel=label, ylabel="difference", title=course.variant)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure
