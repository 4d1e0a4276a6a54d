"""What a bundle says of itself in `bundle.json`. Refuses calibrations and scales that give no chances or values."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from models.signature import Signature  # noqa: TC001  # msgspec reads the annotations when the program runs

FORMAT = 1


class Calibration(msgspec.Struct, frozen=True):
    """Raw score -> probability, piecewise linear between knots (raw ascending) and flat beyond."""

    raw: tuple[float, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.raw or len(self.raw) != len(self.probability) or list(self.raw) != sorted(self.raw):
            raise ValueError("a calibration needs ascending raw scores with a probability each")
        if not all(0.0 <= probability <= 1.0 for probability in self.probability):
            raise ValueError("a calibration's probabilities lie between 0 and 1")


class Appraisal(msgspec.Struct, frozen=True):
    """What is said of `value.txt`: trees of the log of what a reward brings, over the features of the model."""

    of: str
    """What is brought: `revenue`."""
    scale: float = 1.0
    """What the trees say is multiplied by this, so that sums are right."""
    digest: str = ""
    """Of value.txt; `save` fills it in."""

    def __post_init__(self) -> None:
        if not 0.0 < self.scale < math.inf:
            raise ValueError("the scale of values is a positive number")


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What `bundle.json` says."""

    format: int = FORMAT
    name: str
    version: str
    reward: str
    """What propensity is the probability of."""
    labels: Literal["bootstrap", "logged"]
    signature: Signature
    calibration: Calibration
    run_id: str = ""
    trained: str = ""
    """When, ISO 8601 UTC."""
    window: tuple[str, str] = ("", "")
    data_digest: str = ""
    model_digest: str = ""
    """Of model.txt; `save` fills it in."""
    value: Appraisal | None = None
    """None: values are the catalog's."""
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    """Of metrics: from, to, with 95 %."""
    gates: dict[str, Any] = {}
