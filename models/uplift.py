"""For whom a treatment works: the Qini curve of a score, with intervals, and effects in parts of a randomised test.

Pure numpy. Who was treated must have been drawn at random: nothing here corrects for a choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

POINTS = 100
REPLICATES = 400
LOW, HIGH = 2.5, 97.5
REACH = 1.959963984540054
"""Standard errors to either side of a 95 % interval."""


class UpliftError(ValueError):
    """A test of which no effect can be told; the message says why."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What the treatment adds to the mean outcome, with a 95 % interval (Welch)."""

    value: float
    low: float
    high: float
    treated: int
    control: int
    outcome_treated: float
    outcome_control: float


class Qini(msgspec.Struct, frozen=True, kw_only=True):
    """What is gained, per head of all, by treating the best share by a score instead of as many at random."""

    share: Floats
    """(p,) from 0 to 1."""
    gain: Floats
    """(p,) outcomes added per head of the whole population."""
    low: Floats
    high: Floats
    """(p,) of a 95 % interval of the gain."""
    area: float
    """Between the curve and that of treating at random; per head."""
    area_low: float
    area_high: float

    @property
    def shows_for_whom(self) -> bool:
        """Whether the score tells more than nothing of whom the treatment works for."""
        return self.area_low > 0.0


def measure_effect(outcome: Floats, treated: Flags) -> Effect:
    """Difference of means. Raises UpliftError where an arm has fewer than two units."""
    ours, theirs = outcome[treated], outcome[~treated]
    if len(ours) < 2 or len(theirs) < 2:
        raise UpliftError(f"{len(ours)} treated and {len(theirs)} others: an effect needs two of each")
    value = float(ours.mean() - theirs.mean())
    reach = REACH * float(np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs)))
    return Effect(
        value=value,
        low=value - reach,
        high=value + reach,
        treated=len(ours),
        control=len(theirs),
        outcome_treated=float(ours.mean()),
        outcome_control=float(theirs.mean()),
    )


def transform(outcome: Floats, treated: Flags, share: float) -> Floats:
    """The transformed outcome Y (W - e) / (e (1 - e)), whose mean given anything is the treatment's effect there
    (Athey and Imbens 2016, Recursive partitioning for heterogeneous causal effects, section 3; `share` is e, the
    chance of being treated).
    """
    if not 0.0 < share < 1.0:
        raise UpliftError(f"a share of {share:g} treated: both arms are needed")
    return outcome * (treated - share) / (share * (1.0 - share))


def curve_qini(
    score: Floats, outcome: Floats, treated: Flags, seed: int = 0, replicates: int = REPLICATES, points: int = POINTS
) -> Qini:
    """The Qini curve of units (n,) ordered by `score`, best first, and the area between it and the diagonal.

    At a share f of the best it is (R_t - R_c N_t / N_c) / N, by outcomes R and units N of the arms among them
    (Radcliffe 2007, Using control groups to target on predicted lift, section 5), over all treated units. Units of
    equal score come at the rate of them all. Intervals are percentiles of a bootstrap over units with the score as it
    is: they tell nothing of how another training would have scored. Raises UpliftError without two of each arm.
    """
    measure_effect(outcome, treated)
    _, of = np.unique(-score, return_inverse=True)
    generator = np.random.default_rng(seed)
    share = np.linspace(0.0, 1.0, points + 1)
    gain, area = _gain(of, outcome, treated, np.ones(len(score)), share)
    curves, areas = np.empty((replicates, points + 1)), np.empty(replicates)
    for at in range(replicates):
        weight = np.bincount(generator.integers(len(score), size=len(score)), minlength=len(score))
        curves[at], areas[at] = _gain(of, outcome, treated, weight.astype(np.float64), share)
    low, high = np.nanpercentile(curves, [LOW, HIGH], axis=0)
    area_low, area_high = np.nanpercentile(areas, [LOW, HIGH])
    return Qini(
        share=share,
        gain=gain,
        low=low,
        high=high,
        area=area,
        area_low=float(area_low),
        area_high=float(area_high),
    )


def _gain(
    of: NDArray[np.int64], outcome: Floats, treated: Flags, weight: Floats, share: Floats
) -> tuple[Floats, float]:
    """The curve at the shares, and its area over the diagonal; `of` (n,) is each unit's place in the order."""
    size = int(of.max()) + 1
    sums = []
    for arm in (treated, ~treated):
        units = np.bincount(of, weight * arm, minlength=size).cumsum()
        sums.append((units, np.bincount(of, weight * arm * outcome, minlength=size).cumsum()))
    (ours, gained), (theirs, lost) = sums
    if not ours[-1] or not theirs[-1]:
        return np.full(len(share), np.nan), np.nan
    reached = (ours + theirs) / (ours[-1] + theirs[-1])
    added = (gained - lost * ours / np.maximum(theirs, 1.0)) / ours[-1]
    x, y = np.concatenate([[0.0], reached]), np.concatenate([[0.0], added])
    return np.interp(share, x, y), float(np.trapezoid(y - x * y[-1], x))
