"""The report on interleaved slates: of which variant's picks units click more, in figures and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from service.experiments.inference import interleaving
from service.experiments.reports.comparing import known
from service.experiments.reports.schema import Mismatch, Preference, Report, TeamReport, Verdict
from service.experiments.reports.wording import share

if TYPE_CHECKING:
    from service.experiments.reports.trials import Trial
    from service.experiments.reports.units import Units


def summarise(trial: Trial, units: Units, over: bool, as_of: str) -> Report:
    """What a table of units with the clicks of both teams says. `over`: the experiment has ended."""
    found = prefer(trial, units)
    return Report(
        experiment=trial.id,
        status=trial.status,
        mode=trial.analysis.mode,
        confidence=trial.analysis.confidence,
        correction="none",
        control=trial.arms[trial.control],
        as_of=as_of,
        weighted=False,
        units=len(units.arm),
        planned=trial.analysis.units,
        arms=[],
        mismatch=Mismatch(p=None, alarm=False),
        left_out=units.left_out,
        unconverted=0,
        metrics=[],
        segments=[],
        courses=[],
        preference=found,
        verdict=judge(trial, found, len(units.arm), over),
    )


def prefer(trial: Trial, units: Units) -> Preference:
    """Of the variant that is no control, among units that clicked more of one."""
    credit = units.events[: len(trial.arms)].T.astype(np.int64)
    other = 1 - trial.control
    read = interleaving.prefer if trial.analysis.mode == "fixed" else interleaving.follow
    found = read(credit[:, [other, trial.control]], trial.analysis.confidence)
    is_found = found.p <= 1 - trial.analysis.confidence
    ahead = {other: found.first, trial.control: found.second}
    return Preference(
        teams=[
            TeamReport(variant=name, clicks=int(credit[:, at].sum()), units=ahead[at])
            for at, name in enumerate(trial.arms)
        ],
        tied=found.tied,
        variant=trial.arms[other],
        share=known(found.share),
        low=known(found.low),
        high=known(found.high),
        p=known(found.p),
        finding="unclear" if not is_found else "better" if found.share > 0.5 else "worse",
    )


def judge(trial: Trial, found: Preference, units: int, over: bool) -> Verdict:
    """The preference in words."""
    assumptions = _assume(trial)
    planned = trial.analysis.units
    if trial.analysis.mode == "fixed" and not over and units < (planned or units + 1):
        whole = f"{planned:,} units are enrolled ({units:,} so far)" if planned else "it has ended"
        text = f"Wait: the experiment is read once, when {whole}. What shows before then may be chance."
        return Verdict(text=text, action="wait", winner=None, safe_to_stop=False, assumptions=assumptions)
    if found.finding != "unclear":
        winner = found.variant if found.finding == "better" else trial.arms[trial.control]
        text = f"{winner} ranks better than {_other(trial, winner)}: {_told(found, winner)}. Safe to stop."
        return Verdict(text=text, action="decide", winner=winner, safe_to_stop=True, assumptions=assumptions)
    is_last = trial.analysis.mode == "fixed"
    if found.share is None:
        text = f"Nobody has clicked more of one ranking yet ({units:,} units saw slates of both)."
    else:
        text = f"No preference is known: {_told(found, found.variant)}. "
        text += "That was the one reading." if is_last else "Let it run, or give up."
    is_decided = is_last and found.share is not None
    return Verdict(
        text=text, action="decide" if is_decided else "wait", winner=None, safe_to_stop=is_last, assumptions=assumptions
    )


def _told(found: Preference, variant: str) -> str:
    told, low, high = found.share or 0.0, found.low or 0.0, 1.0 if found.high is None else found.high
    if variant != found.variant:
        told, low, high = 1 - told, 1 - high, 1 - low
    decided = sum(team.units for team in found.teams)
    return (
        f"of {decided:,} units that clicked more of one, {share(told)} clicked more of {variant} ({_span(low, high)})"
    )


def _span(low: float, high: float) -> str:
    return f"{share(low)} to {share(high)}"


def _other(trial: Trial, variant: str) -> str:
    return next(name for name in trial.arms if name != variant)


def _assume(trial: Trial) -> list[str]:
    confidence = f"{trial.analysis.confidence:.4g}"
    units = "customers" if trial.unit == "customer" else "anonymous visitors"
    read = f"Interval and p hold at {confidence} at all times together, however often one looks."
    if trial.analysis.mode == "fixed":
        read = (
            f"Read once, by the sign test, with the exact interval at {confidence}: looking earlier and stopping on "
            "what shows would find preferences that are none."
        )
    return [
        "Both variants rank, and pick in turn who stands in a slate (team draft); which one picks first is drawn anew "
        "for each round of each slate, so that both have the same places.",
        f"A click counts for the variant that brought the item in, once an item and slate. Units are {units}: each is "
        "for the variant of which it clicked more.",
        read,
        "It tells whose ranking is preferred, not how much more is clicked or bought: for that, compare the variants "
        "with fixed weights.",
    ]
