"""The report in words that a marketer understands: what is known, what may be done, and what all of it assumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from service.experiments.inference import differences, mismatch
from service.experiments.reports.schema import Verdict

if TYPE_CHECKING:
    from service.experiments.reports.schema import ArmReport, Comparison, MetricReport, Mismatch
    from service.experiments.reports.trials import Trial
    from service.experiments.reports.units import LeftOut

Action = Literal["investigate", "stop", "decide", "wait"]
MANY_LEFT_OUT = 0.01
"""Share of units that met two variants above which it is looked into first."""
LEAST_LEFT_OUT = 20


def judge(
    trial: Trial,
    metrics: list[MetricReport],
    arms: list[ArmReport],
    found: Mismatch,
    left_out: LeftOut,
    weighted: bool,
    is_over: bool,
) -> Verdict:
    """What to say first: what makes the rest worthless, then harm, then what was asked."""
    primary = next(metric for metric in metrics if not metric.guardrail)
    counted = sum(arm.units for arm in arms)
    assumptions = assume(trial, weighted)
    findings = _findings(trial, primary)
    winner = _winner(trial, primary)
    ripe = trial.analysis.mode != "fixed" or is_over or (trial.analysis.units or 0) <= counted
    if problem := _problem(arms, found, left_out, weighted):
        action: Action = "investigate"
        text = f"{problem}: investigate first. {_sentence(findings)}"
        return Verdict(text=text, action=action, winner=None, safe_to_stop=False, assumptions=assumptions)
    if harm := _harm(metrics):
        text = f"Stop: {harm}. {_sentence(findings)}"
        return Verdict(text=text, action="stop", winner=None, safe_to_stop=True, assumptions=assumptions)
    if not ripe:
        planned = trial.analysis.units
        whole = f"{planned:,} units are enrolled ({counted:,} so far)" if planned else "it has ended"
        text = f"Wait: the experiment is read once, when {whole}. What shows before then may be chance."
        return Verdict(text=text, action="wait", winner=None, safe_to_stop=False, assumptions=assumptions)
    if is_over and trial.analysis.mode == "fixed" and counted < (trial.analysis.units or 0):
        assumptions.append(
            f"It has ended at {counted:,} of the {trial.analysis.units:,} units that were planned: this holds if "
            "nobody ended it for what showed."
        )
    if winner is not None or findings:
        text = f"{_sentence(findings)} {_stopping(trial, primary, winner)}".strip()
        decided = winner is not None or trial.analysis.mode != "bayesian"  # beliefs can always be said
        action = "decide" if decided else "wait"
        return Verdict(text=text, action=action, winner=winner, safe_to_stop=decided, assumptions=assumptions)
    text = _nothing(trial, primary, counted)
    over = trial.analysis.mode == "fixed"
    action = "decide" if over else "wait"
    return Verdict(text=text, action=action, winner=None, safe_to_stop=over, assumptions=assumptions)


def assume(trial: Trial, weighted: bool) -> list[str]:
    """What the figures rest on."""
    confidence = f"{trial.analysis.confidence:.4g}"
    units = "customers" if trial.unit == "customer" else "anonymous visitors"
    said = [
        f"Units are {units}, enrolled by their first view of the placement in every variant alike; what one does "
        "changes nothing for another."
    ]
    modes = {
        "fixed": f"Read once, with Welch's intervals at {confidence}: looking earlier and stopping on what shows would "
        "find differences that are none.",
        "sequential": f"Intervals hold at {confidence} at all times together, however often one looks, from "
        f"{differences.LEAST_UNITS} units a variant on.",
        "bayesian": "Beliefs under a flat prior; they promise nothing about how often such decisions are wrong.",
    }
    said.append(modes[trial.analysis.mode])
    many = (len(trial.arms) - 1) * sum(not metric.guardrail for metric in trial.analysis.metrics)
    if many > 1 and trial.analysis.mode != "bayesian" and trial.analysis.correction != "none":
        name = {"holm": "Holm", "benjamini-hochberg": "Benjamini and Hochberg"}[trial.analysis.correction]
        said.append(f"{many} comparisons are corrected for together ({name}); guardrails are not, to be heard early.")
    if trial.allocation == "thompson":
        said.append("Weights move by the reward so far, and bind new units only: each keeps the variant it was given.")
    if weighted:
        said.append("Chances of variants moved: units count by the inverse of theirs, without a covariate.")
    elif trial.lookback:
        days = trial.lookback / 86_400e6
        said.append(f"Adjusted by the same metric in the {days:g} days before each unit's enrolment (CUPED).")
    caps = [f"{metric.id} at {metric.cap:g}" for metric in trial.analysis.metrics if metric.cap is not None]
    if caps:
        said.append(f"Amounts of a unit are capped: {', '.join(caps)}.")
    if any(metric.within is None for metric in trial.analysis.metrics):
        said.append("Units enrolled lately had less time; as far as that matters, give metrics a `within`.")
    return said


def range_of(found: Comparison) -> str:
    """Of the effect, relative where that can be said.

    >>> from service.experiments.reports.schema import Comparison
    >>> rest = dict(difference=0.1, low=0.05, high=0.2, lift=0.05, p=0.0, adjusted=0.0, finding="better")
    >>> range_of(Comparison(variant="bold", lift_low=0.031, lift_high=0.084, **rest))
    '3.1 % to 8.4 %'
    """
    if found.lift_low is not None and found.lift_high is not None:
        ends = sorted((abs(found.lift_low), abs(found.lift_high)))
        return f"{_percent(ends[0])} to {_percent(ends[1])}"
    if found.low is not None and found.high is not None:
        ends = sorted((abs(found.low), abs(found.high)))
        return f"{ends[0]:.3g} to {ends[1]:.3g} a unit"
    return "an amount that is not known yet"


def _problem(arms: list[ArmReport], found: Mismatch, left_out: LeftOut, weighted: bool) -> str:
    enrolled = sum(arm.enrolled for arm in arms)
    if found.alarm and weighted:
        return f"Variants have not got the units that their chances say (p < {mismatch.ALARM:g})"
    if found.alarm:
        most = max(arms, key=lambda arm: abs(arm.enrolled - arm.expected))
        return (
            f"{most.enrolled:,} of {enrolled:,} units were enrolled in {most.id} where {most.expected:,.0f} were meant "
            f"(p < {mismatch.ALARM:g}), so that variants do not compare like with like"
        )
    if left_out.met_two > MANY_LEFT_OUT * enrolled and left_out.met_two > LEAST_LEFT_OUT:
        return f"{left_out.met_two:,} of {enrolled:,} visitors met more than one variant"
    return ""


def _harm(metrics: list[MetricReport]) -> str:
    harms = [
        f"{found.variant} makes the guardrail {metric.id} worse by {range_of(found)}"
        for metric in metrics
        if metric.guardrail
        for found in metric.comparisons
        if found.finding == "worse"
    ]
    return "; ".join(harms)


def _findings(trial: Trial, primary: MetricReport) -> list[str]:
    """Of the metric that decides, what is known of each variant."""
    control = trial.arms[trial.control]
    if trial.analysis.mode == "bayesian":
        return _beliefs(primary)
    return [
        f"{found.variant} is {found.finding} than {control} by {range_of(found)} ({primary.id})"
        for found in sorted(primary.comparisons, key=lambda one: -abs(one.difference or 0.0))
        if found.finding != "unclear"
    ]


def _beliefs(primary: MetricReport) -> list[str]:
    known = [value for value in primary.values if value.probability_best is not None]
    if not known:
        return []
    best = max(known, key=lambda value: value.probability_best or 0.0)
    return [f"{best.variant} is the best for {primary.id} with a probability of {_percent(best.probability_best or 0)}"]


def _winner(trial: Trial, primary: MetricReport) -> str | None:
    """The variant to keep; among several that are better than the control, the best so far."""
    control = trial.arms[trial.control]
    if trial.analysis.mode == "bayesian":
        if any(value.units < differences.LEAST_UNITS or not value.error for value in primary.values):
            return None  # where nothing has happened yet, nothing varies, and any loss looks like none
        scale = abs(next(value.value or 0.0 for value in primary.values if value.variant == control))
        good = [
            value
            for value in primary.values
            if value.expected_loss is not None and value.expected_loss <= trial.analysis.tolerated_loss * scale
        ]
        return min(good, key=lambda value: value.expected_loss or 0.0).variant if good else None
    better = [found for found in primary.comparisons if found.finding == "better"]
    if better:
        return max(better, key=lambda found: abs(found.difference or 0.0)).variant
    all_worse = all(found.finding == "worse" for found in primary.comparisons)
    return control if all_worse else None


def _stopping(trial: Trial, primary: MetricReport, winner: str | None) -> str:
    if trial.analysis.mode == "bayesian":
        loss = f"{trial.analysis.tolerated_loss:.2%}"
        return (
            f"Keeping {winner} loses at most {loss} on average: good enough." if winner else "Not enough to decide yet."
        )
    better = [found for found in primary.comparisons if found.finding == "better"]
    if len(better) > 1:
        return f"Safe to stop; {winner} is ahead of the others that are better, which was not tested."
    if winner is None:
        return "The others are not told apart from the control: safe to stop those that are worse."
    return "Safe to stop."


def _nothing(trial: Trial, primary: MetricReport, counted: int) -> str:
    if not counted:
        return "Nobody is enrolled yet: no view of the placement names a decision of this experiment."
    spans = [
        f"{found.variant} {_signed(found.lift_low)} to {_signed(found.lift_high)}"
        for found in primary.comparisons
        if found.lift_low is not None and found.lift_high is not None
    ]
    if not spans:
        return f"Too few units yet ({counted:,}) to say anything about {primary.id}."
    control = trial.arms[trial.control]
    whole = f"No difference from {control} is known in {primary.id}: {', '.join(spans)}."
    return f"{whole} " + ("That was the one reading." if trial.analysis.mode == "fixed" else "Let it run, or give up.")


def _sentence(findings: list[str]) -> str:
    return f"{'; '.join(findings)}." if findings else ""


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share < 0.1 else f"{100 * share:.1f} %"


def _signed(share: float | None) -> str:
    return f"{100 * (share or 0.0):+.3g} %"
