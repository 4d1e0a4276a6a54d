"""Before the start: how many units an effect takes, what effect the units at hand can show, and how long that is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

from service.experiments.inference import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Shape = Literal["fixed", "sequential"]
MOST_UNITS = 1e13


class PlanError(ValueError):
    """No experiment can be like that; the message says why."""


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """What is planned. Raises PlanError for what no experiment can be."""

    mean: float
    """Of the metric in the control."""
    deviation: float | None = None
    """Standard deviation between units; None: the metric is a conversion, and follows from its rate."""
    shares: Sequence[float] = (0.5, 0.5)
    """Of the units, control first."""
    confidence: float = 0.95
    power: float = 0.8
    mode: Shape = "fixed"
    correlation: float = 0.0
    """Of the metric with its covariate: CUPED leaves 1 - correlation^2 of the variance (Deng et al. 2013, eq. 5)."""
    comparisons: int = 1
    """Of variants and metrics, corrected for together."""

    def __post_init__(self) -> None:
        for wrong, message in (
            (len(self.shares) < 2 or min(self.shares, default=0) <= 0, "two variants or more, each with a share"),
            (not 0 < self.confidence < 1 or not 0 < self.power < 1, "confidence and power between 0 and 1"),
            (self.deviation is None and not 0 < self.mean < 1, "a conversion rate between 0 and 1, or a deviation"),
            (self.deviation is not None and self.deviation <= 0, "a deviation above 0"),
            (not -1 < self.correlation < 1, "a correlation between -1 and 1"),
            (self.comparisons < 1, "one comparison or more"),
        ):
            if wrong:
                raise PlanError(f"an experiment needs {message}")


def plan_units(design: Design, effect: float) -> int:
    """Units, of all variants together, with which a difference of `effect` from the control is found with `power`, in
    the variant with the smallest share. Raises PlanError when no number is enough.

    Fixed: n = (z(1 - alpha/2) + z(power))^2 (s0^2/w0 + s1^2/w1) / effect^2, as in Fleiss, Levin and Paik (2003),
    equation 4.14 with each arm's own variance. Sequential: the same with the boundary at n in z(1 - alpha/2)'s place:
    what is found at the last look alone, so that the power is at least what is promised.
    """
    if not effect or not math.isfinite(effect):
        raise PlanError("an effect other than 0 is needed")
    noise = _noise(design, effect)
    return math.ceil(_first(lambda units: abs(effect) >= _width(design, units) * math.sqrt(noise / units)))


def plan_effect(design: Design, units: float) -> float:
    """The least increase over the control that so many units show with `power` (the minimum detectable effect).

    Raises PlanError when none that is possible is large enough.
    """
    most = (1 - design.mean) * 0.999999 if design.deviation is None else 1e6 * design.deviation
    width = _width(design, units)

    def is_found(effect: float) -> bool:
        return effect >= width * math.sqrt(_noise(design, effect) / units)

    if not is_found(most):
        raise PlanError("no effect that is possible can be shown by so few units")
    low, high = 0.0, most
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def _width(design: Design, units: float) -> float:
    """How many standard errors away the true effect has to be."""
    from scipy import stats

    alpha = (1 - design.confidence) / design.comparisons
    if design.mode == "fixed":
        quantile = float(stats.norm.isf(alpha / 2))
    else:
        pair = units * (design.shares[0] + min(design.shares[1:])) / sum(design.shares)
        quantile = float(differences.boundary(pair * differences.mixing(alpha, pair), alpha))
    return quantile + float(stats.norm.ppf(design.power))


def _noise(design: Design, effect: float) -> float:
    """Variance of the difference, times all units."""
    whole = sum(design.shares)
    control, variant = design.shares[0] / whole, min(design.shares[1:]) / whole
    if design.deviation is not None:
        before = after = design.deviation**2
    else:
        rate = design.mean + effect
        if not 0 < rate < 1:
            raise PlanError(f"a rate of {design.mean:g} cannot change by {effect:g}")
        before, after = design.mean * (1 - design.mean), rate * (1 - rate)
    return (before / control + after / variant) * (1 - design.correlation**2)


def _first(is_enough: Callable[[float], bool]) -> float:
    high = 2.0
    while not is_enough(high):
        high *= 2
        if high > MOST_UNITS:
            raise PlanError("the effect is too small: no number of units is enough")
    low = high / 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
