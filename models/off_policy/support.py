"""Whether a log can speak of another policy at all: effective sample, largest weight, and what it never tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

if TYPE_CHECKING:
    from models.off_policy.rounds import Rounds

Verdict = Literal["supported", "thin", "do not trust"]

FEWEST, FEW = 100, 500
"""Effective sample below which an estimate is refused, and below which it is thin. At 100 the normal interval of a rate
of 5 % rests on five rewards."""
LARGEST, LARGE = 0.1, 0.02
"""Share of all weight on one slate above which the same holds."""
MOST_UNCOVERED, MUCH_UNCOVERED = 0.05, 0.01
"""Share of the target's picks that the log never shows: what they would earn is anybody's guess."""
FEWEST_REWARDED, FEW_REWARDED = 10, 30
"""Rewarded picks that the target would have made too: a normal interval needs some."""
WEIGHT_ERRORS, WEIGHT_MARGIN = 4.0, 0.05
"""Weights have mean 1 where probabilities are right and nothing is missing: so many standard errors, and so much, may
their mean be off."""


class Support(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the rank that is supported least, and what follows from them."""

    slates: int
    units: int
    rewarded: int
    """Picks with a reward that the target might have made."""
    effective: float
    """(sum of weights)^2 / sum of squared weights (Kong 1992; Owen 2013, section 9.3)."""
    largest: float
    """The largest weight."""
    largest_share: float
    """Of the sum of weights."""
    mean_weight: float
    uncovered: float
    verdict: Verdict
    reasons: tuple[str, ...]
    """Why it is not `supported`."""


def judge(rounds: Rounds) -> Support:
    effective, largest, share, mean, missing = np.inf, 0.0, 0.0, 1.0, 0.0
    for rank in range(int(rounds.rank.max()) + 1):
        weight = rounds.weight[rounds.rank == rank]
        total, squares = float(weight.sum()), float(weight @ weight)
        effective = min(effective, total * total / squares if squares else 0.0)
        largest = max(largest, float(weight.max()))
        share = max(share, float(weight.max()) / total if total else 1.0)
        here = total / len(weight)
        error = float(weight.std(ddof=1)) / np.sqrt(len(weight)) if len(weight) > 1 else np.inf
        if abs(here - 1.0) > abs(mean - 1.0):
            mean = here
        if abs(here - 1.0) > WEIGHT_ERRORS * error + WEIGHT_MARGIN:
            missing = max(missing, abs(here - 1.0))
    rewarded = int(((rounds.reward != 0.0) & (rounds.weight > 0.0)).sum())
    findings = [
        _below(effective, FEWEST, FEW, f"the effective sample is {effective:,.0f} of {rounds.slates:,}"),
        _below(rewarded, FEWEST_REWARDED, FEW_REWARDED, f"{rewarded} rewarded picks that the target might have made"),
        _above(share, LARGEST, LARGE, f"one slate has {share:.0%} of all weight"),
        _above(
            rounds.uncovered,
            MOST_UNCOVERED,
            MUCH_UNCOVERED,
            f"{rounds.uncovered:.1%} of what the target would pick is never in the log",
        ),
        _above(missing, 0.0, 0.0, f"the mean weight is {mean:.2f} instead of 1: picks are missing, or chances wrong"),
    ]
    reasons = [(verdict, reason) for verdict, reason in findings if verdict != "supported"]
    verdicts = [verdict for verdict, _ in reasons]
    worst: Verdict = "supported" if not reasons else "do not trust" if "do not trust" in verdicts else "thin"
    return Support(
        slates=rounds.slates,
        units=int(rounds.unit.max()) + 1,
        rewarded=rewarded,
        effective=effective,
        largest=largest,
        largest_share=share,
        mean_weight=mean,
        uncovered=rounds.uncovered,
        verdict=worst,
        reasons=tuple(reason for _, reason in reasons),
    )


def _below(figure: float, refused: float, thin: float, reason: str) -> tuple[Verdict, str]:
    return ("do not trust" if figure < refused else "thin" if figure < thin else "supported"), reason


def _above(figure: float, refused: float, thin: float, reason: str) -> tuple[Verdict, str]:
    return ("do not trust" if figure > refused else "thin" if figure > thin else "supported"), reason
