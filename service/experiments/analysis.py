"""How an experiment is read, as the catalog states it before the start: its one mode of analysis, its metrics, what
it adjusts by. Refuses metrics that name no event, and revenue without a cap.
"""

# No `from __future__ import annotations`: the annotations are read when the program runs.
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from service.catalog.parts import Count, Duration, Id, Part, Share, Size, Word

Kind = Literal["conversion", "mean", "revenue", "ratio"]
Mode = Literal["fixed", "sequential", "bayesian"]
Goal = Literal["increase", "decrease"]
Correction = Literal["holm", "benjamini-hochberg", "none"]


class Source(Part):
    """What is counted: events of a name; or, with `property`, the sum of that number over them."""

    event: Word
    property: Word | None = None
    where: dict[str, str | float | bool] = Field(default_factory=dict)
    """Properties that an event must have, exactly so."""


class Metric(Part):
    """What a unit did after it was enrolled, as one number (a ratio metric: two)."""

    id: Id
    kind: Kind = "conversion"
    """Whether there was such an event; how many or how much; money, winsorised at `cap`; or one amount over another."""
    event: Word | None = None
    property: Word | None = None
    """The number that is summed; of `mean`, events are counted without it, and of `revenue` it is what orders say."""
    where: dict[str, str | float | bool] = Field(default_factory=dict)
    numerator: Source | None = None
    denominator: Source | None = None
    cap: Size | None = None
    """Of a unit's amount: what is above counts as the cap. Fixed here: who chooses it afterwards chooses the result."""
    within: Duration | None = None
    """How long after the enrolment it counts; until now, if left out."""
    goal: Goal = "increase"
    guardrail: bool = False
    """Must not get worse: it decides nothing, and stops the experiment when it is worse by more than `margin`."""
    margin: Share = 0.0
    """Of a guardrail: how much worse, relative to the control, is borne."""

    @model_validator(mode="after")
    def _complete(self) -> "Metric":
        if self.kind == "ratio":
            if self.numerator is None or self.denominator is None or self.event is not None:
                raise ValueError("a ratio names `numerator` and `denominator`, and no `event`")
        elif self.event is None or self.numerator is not None or self.denominator is not None:
            raise ValueError(f"a {self.kind} metric names an `event`, and no `numerator` or `denominator`")
        if self.kind == "revenue" and self.cap is None:
            raise ValueError("revenue needs a `cap`: without one, few large orders decide")
        if self.cap is not None and self.kind not in ("revenue", "mean"):
            raise ValueError("a `cap` is for `revenue` and `mean`")
        if self.margin and not self.guardrail:
            raise ValueError("a `margin` is for guardrails")
        return self


CLICKS = Metric(id="clicks", event="Promotion Clicked")


class Analysis(Part):
    """Declared before the start; changing it while the experiment runs would choose the result."""

    mode: Mode = "sequential"
    """`sequential` may be looked at whenever one likes; `fixed` is read once, when `units` are enrolled or the
    experiment has ended; `bayesian` decides by the expected loss, and has no guarantee against looking often.
    """
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = 0.95
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1, max_length=50)] = (CLICKS,)
    """The first one that is no guardrail is what the verdict goes by."""
    control: Id | None = None
    """The variant that others are compared with; the first, if left out."""
    correction: Correction = "holm"
    """Over all comparisons of variants and metrics, guardrails apart."""
    units: Count | None = None
    """How many units (all variants together) the experiment was planned for."""
    lookback: Duration | None = timedelta(days=14)
    """Length of the time before the enrolment in which the same metric is taken as a covariate (CUPED)."""
    adjusted: bool = True
    """Whether the covariate is used."""
    segments: Annotated[tuple[Word, ...], Field(max_length=10)] = ()
    """Names in the context of the enrolling decision, like `device`, by which results are also told."""
    tolerated_loss: Annotated[float, Field(ge=0.0, le=1.0)] = 0.001
    """Of `bayesian`: the expected loss, relative to the control, below which a variant is good enough to keep."""


def problems(analysis: Analysis, variants: Iterable[str], has_end: bool) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(place below the analysis, what is wrong) of what the shape cannot tell."""
    known = set(variants)
    if analysis.control is not None and analysis.control not in known:
        yield ("control",), f"there is no variant {analysis.control!r}"
    seen: set[str] = set()
    for at, metric in enumerate(analysis.metrics):
        if metric.id in seen:
            yield ("metrics", at, "id"), f"{metric.id!r} stands here a second time"
        seen.add(metric.id)
    if all(metric.guardrail for metric in analysis.metrics):
        yield ("metrics",), "guardrails decide nothing: one metric must be none"
    if analysis.mode == "fixed" and analysis.units is None and not has_end:
        yield ("units",), "a fixed analysis is read once: say at how many units, or when the experiment ends"
