"""What the crowd measured, and how sure it is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.simulation.visit import Judgement

Z_95 = 1.959964


class Rate(msgspec.Struct, frozen=True):
    """A share of `of`, with its 95 % interval."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The score interval: E. B. Wilson, "Probable inference", JASA 22 (1927)."""
        if not self.of:
            return 0.0, 1.0
        share, width = self.value, Z_95**2 / self.of
        middle = (share + width / 2) / (1 + width)
        half = Z_95 / (1 + width) * float(np.sqrt(share * (1 - share) / self.of + width / (4 * self.of)))
        return max(0.0, middle - half), min(1.0, middle + half)


class Ledger(msgspec.Struct):
    """Everything that happened in one phase; grows while the crowd plays."""

    judgements: dict[str, list[Judgement]] = msgspec.field(default_factory=dict)
    """Arm -> what its pages came to."""
    decision_seconds: list[float] = msgspec.field(default_factory=list)
    """Of the probes' decisions, as the client saw them."""
    fresh_seconds: list[float] = msgspec.field(default_factory=list)
    """From the acknowledgement of a probe's event to the answer that has seen it."""
    rungs: Counter[str] = msgspec.field(default_factory=Counter)
    events: int = 0

    def judge(self, arm: str, judgements: Sequence[Judgement]) -> None:
        self.judgements.setdefault(arm, []).extend(judgements)

    def of(self, arm: str, placement: str) -> list[Judgement]:
        return [judgement for judgement in self.judgements.get(arm, []) if judgement.placement == placement]


def click_rate(judgements: Sequence[Judgement]) -> Rate:
    """Of a placement with one item: clicks per exposure."""
    return Rate(sum(judgement.clicks for judgement in judgements), len(judgements))


def best_rate(judgements: Sequence[Judgement]) -> float:
    """The click rate of a policy that knows every probability, at the very same moments."""
    return float(np.mean([judgement.best for judgement in judgements])) if judgements else 0.0


def quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    if not seconds:
        return float("nan"), float("nan")
    middle, high = np.quantile(np.asarray(seconds), [0.5, 0.99]) * 1000.0
    return float(middle), float(high)
