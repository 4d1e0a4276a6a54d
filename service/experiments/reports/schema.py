"""What a report says. Numbers that are not known are null."""

# No `from __future__ import annotations`: Litestar reads the annotations when the program runs.
from typing import Literal

import msgspec

from service.experiments.reports.units import LeftOut

Finding = Literal["better", "worse", "unclear"]


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """Whether units came to the variants as they were meant to."""

    p: float | None
    alarm: bool
    """Nothing else of the report can be believed before its cause is known."""


class ArmReport(msgspec.Struct, frozen=True, kw_only=True):
    """A variant's units."""

    id: str
    units: int
    """In the analysis."""
    enrolled: int
    """Also those who are left out as they met another variant later."""
    expected: float
    """Of `enrolled`, by the shares meant."""


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A metric in one variant."""

    variant: str
    units: int
    """Of which the metric is known: their time is over, where it counts `within` one."""
    value: float | None
    """Per unit, or per unit of the denominator; adjusted by the covariate."""
    error: float | None
    variance_left: float | None
    """What the covariate left of the variance."""
    probability_best: float | None
    expected_loss: float | None
    """Of keeping this variant, in the metric's unit."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A variant beside the control."""

    variant: str
    difference: float | None
    low: float | None
    high: float | None
    lift: float | None
    """Relative to the control, with its interval; null where the control may be 0."""
    lift_low: float | None
    lift_high: float | None
    p: float | None
    adjusted: float | None
    """p, corrected for all comparisons."""
    finding: Finding


class MetricReport(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str
    goal: str
    guardrail: bool
    values: list[Value]
    comparisons: list[Comparison]
    level: float
    """Of its intervals, one minus: smaller than the confidence where several comparisons hold together."""


class SegmentReport(msgspec.Struct, frozen=True, kw_only=True):
    """The first metric among units of one kind: for ideas, not for decisions."""

    name: str
    label: str
    variant: str
    units: int
    lift: float | None
    difference: float | None
    low: float | None
    high: float | None
    adjusted: float | None
    """p, by Benjamini and Hochberg over all segments."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """The first metric's difference from the control."""

    day: int
    """Days since each unit's enrolment, or since that of the first unit."""
    units: int
    difference: float | None
    low: float | None
    high: float | None


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """How an effect goes on."""

    variant: str
    since_enrolment: list[Day]
    """What happened on each unit's n-th day: whether it is the new that works."""
    so_far: list[Day]
    """Of all units enrolled up to each day, as they are now."""
    slope: float | None
    """Of `since_enrolment` a day."""
    p: float | None
    """That there is no slope."""


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """The shares of new units from a moment on."""

    since: str | None
    """Null: from the beginning."""
    weights: dict[str, float]
    """Variant -> share."""


class TeamReport(msgspec.Struct, frozen=True, kw_only=True):
    """A variant whose picks stood in slates beside the other's."""

    variant: str
    clicks: int
    """On what it brought in, each item of a slate once."""
    units: int
    """That clicked more of it than of the other."""


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """Of interleaved slates: whose picks people click."""

    teams: list[TeamReport]
    tied: int
    """Units that clicked as often of both, or not at all."""
    variant: str
    """Of which the share is told: the one that is no control."""
    share: float | None
    """Of the units that clicked more of one, those that did of this variant."""
    low: float | None
    high: float | None
    p: float | None
    """Both are as good."""
    finding: Finding


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a marketer needs to know."""

    text: str
    action: Literal["investigate", "stop", "decide", "wait"]
    winner: str | None
    safe_to_stop: bool
    """What was found will not be undone by looking earlier than planned."""
    assumptions: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment, as the archive knows it."""

    experiment: str
    status: str
    mode: str
    confidence: float
    correction: str
    control: str
    as_of: str
    weighted: bool
    """Chances moved meanwhile: units count by the inverse of theirs."""
    units: int
    planned: int | None
    arms: list[ArmReport]
    mismatch: Mismatch
    left_out: LeftOut
    unconverted: int
    """Orders in another currency than the catalog's, which no revenue counts."""
    metrics: list[MetricReport]
    segments: list[SegmentReport]
    courses: list[Course]
    verdict: Verdict
    weights: list[Weights] = []
    """Where weights move by themselves: what they were, the oldest first."""
    preference: Preference | None = None
    """Of interleaved slates; then there are no metrics."""
