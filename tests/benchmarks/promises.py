"""Figures that simulated experiments have to keep. Not a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from service.experiments.inference.estimates import Estimate


class Promise(msgspec.Struct, frozen=True):
    """One figure, and the range that it has to be in."""

    name: str
    measured: float
    least: float
    most: float

    @property
    def holds(self) -> bool:
        return self.least <= self.measured <= self.most


def around(rate: float, runs: int) -> tuple[float, float]:
    """One percent to each side, or three standard errors where fewer runs are not as exact."""
    slack = max(0.01, 3 * float(np.sqrt(rate * (1 - rate) / runs)))
    return rate - slack, rate + slack


def pick_arm(found: Estimate, at: int) -> Estimate:
    """One of the arms of many experiments."""
    return found[..., at]
