"""All estimators of one log side by side, with the verdict on its support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from models.off_policy.estimators import (
    CONFIDENCE,
    Estimate,
    direct,
    doubly_robust,
    inverse_probability,
    self_normalised,
)
from models.off_policy.support import Support, judge

if TYPE_CHECKING:
    from models.off_policy.rounds import Rounds


class Valuation(msgspec.Struct, frozen=True, kw_only=True):
    """A target policy's reward a slate. Without a reward model there is neither `direct` nor `doubly_robust`."""

    inverse_probability: Estimate
    self_normalised: Estimate
    direct: Estimate | None
    doubly_robust: Estimate | None
    logged: Estimate
    """What the logging policy earned in the same slates."""
    support: Support

    @property
    def is_trusted(self) -> bool:
        """False: say that it is not to be trusted, whatever the intervals are."""
        return self.support.verdict != "do not trust"

    @property
    def best(self) -> Estimate:
        """DR where there is a reward model, else SNIPS."""
        return self.self_normalised if self.doubly_robust is None else self.doubly_robust


def value(rounds: Rounds, confidence: float = CONFIDENCE) -> Valuation:
    modelled = rounds.expected is not None and rounds.target_expected is not None
    ones = rounds.above * 0.0 + 1.0
    return Valuation(
        inverse_probability=inverse_probability(rounds, confidence),
        self_normalised=self_normalised(rounds, confidence),
        direct=direct(rounds, confidence) if modelled else None,
        doubly_robust=doubly_robust(rounds, confidence) if modelled else None,
        logged=inverse_probability(msgspec.structs.replace(rounds, weight=ones), confidence),
        support=judge(rounds),
    )
