"""What gates look at, what they ask for, and what they say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from models.off_policy import Valuation
    from training.appraisal import Appraised
    from training.comparison import Comparison
    from training.skew.auditing import Audit


class Bounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each gate asks for; null turns a gate off."""

    better_by: float | None = 0.0
    """The metric's lower end over the champion must be above this; below 0, a model that is hardly worse is taken."""
    auc: float | None = 0.5
    """The lower end of the AUC must be above this: a model that knows something."""
    calibration_error: float | None = 0.03
    """Most ECE; or what a calibrated model reaches by chance on so few rows, if that is more."""
    calibration_ratio: tuple[float, float] | None = (0.8, 1.25)
    """Predicted over actual must lie here, with some of its interval."""
    value_ratio: tuple[float, float] | None = (0.8, 1.25)
    """The same of what rewards bring, in sum; and values must not be worse than the mean of all with their interval."""
    policy_loss: float | None = 0.2
    """The doubly robust value's lower end may lie this share below what was earned in the same slots."""
    skew: float | None = 0.001
    """Most mismatching values of any feature, as a share."""
    latency_ms: float | None = 2.0
    """Of one thread's time for scoring 100 rows, the median."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """How the model does as a service would load it."""

    problem: str = ""
    """Why it cannot be served; empty if it can."""
    latency_ms: float = math.nan


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that gates look at."""

    comparison: Comparison
    champion: str | None = None
    """The champion's name among the baselines; None: there is none."""
    same_meaning: bool = False
    """Whether the champion predicts the same reward from the same kind of labels."""
    serving: Serving
    calibration_rewards: int | None = None
    """Rewarded rows that the calibration was fitted on; None: more than enough."""
    audit: Audit | None = None
    """None: nothing was logged."""
    valuation: Valuation | None = None
    appraised: Appraised | None = None
    """How well it is told what a reward brings; None: nobody asked."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    gate: str
    holds: bool | None
    """None: not measured."""
    figure: str
    bound: str
