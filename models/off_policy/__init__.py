"""What another policy would have earned, from a log of decisions with their selection probabilities. Pure numpy.

Rounds say what was logged, estimators value the other policy, support says whether that may be believed.
"""

from models.off_policy.estimators import (
    Estimate,
    direct,
    doubly_robust,
    inverse_probability,
    self_normalised,
)
from models.off_policy.rewards import Expected, expect
from models.off_policy.rounds import OffPolicyError, Rounds, cumulate, gather
from models.off_policy.support import Support, judge
from models.off_policy.valuation import Valuation, value

__all__ = [
    "Estimate",
    "Expected",
    "OffPolicyError",
    "Rounds",
    "Support",
    "Valuation",
    "cumulate",
    "direct",
    "doubly_robust",
    "expect",
    "gather",
    "inverse_probability",
    "judge",
    "self_normalised",
    "value",
]
