"""Experiments, the global holdout and flags, as the catalog states them."""

# No `from __future__ import annotations`: the annotations are read when the program runs.
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue

from service.catalog.parts import Duration, Expression, Id, Moment, Part, Share, Size
from service.experiments.analysis import Analysis

Strategy = Literal["value", "propensity", "fixed"]
ValueFrom = Literal["catalog", "model"]
Unit = Literal["customer", "anonymous"]
Status = Literal["draft", "running", "stopped", "rolled_out"]
BUCKETS = 10_000
"""Units fall into so many buckets, in each experiment into others."""
Bucket = Annotated[int, Field(ge=0, le=BUCKETS)]
Ranges = tuple[tuple[Bucket, Bucket], ...]
"""Buckets from the first number on, up to and without the second."""
Name = Annotated[Id, BeforeValidator(lambda given: ("off", "on")[given] if isinstance(given, bool) else given)]
"""Of a flag's variant: on and off, which YAML takes for true and false, are names here."""
HOLDOUT = "holdout"
"""Under which id the global holdout stands among experiments."""
HELD, OPEN = "held", "open"
INTERLEAVED = "interleaved"
"""As a unit's variant: both of the experiment's, in one slate."""


class Variant(Part):
    """An arm of an experiment: what it changes where the experiment applies."""

    id: Id
    weight: Share | None = None
    """Its share of the experiment's units: all variants have one, and they add up to 1; without any, all are equal."""
    model: str | None = None
    """The alias of the model that scores."""
    strategy: Strategy | None = None
    value_from: ValueFrom | None = None
    exploration: Share | None = None
    candidates: tuple[Id, ...] | None = None
    """Who competes, instead of the placement's own candidates."""
    weights: dict[Id, Size] = Field(default_factory=dict)
    """Candidate -> its weight, instead of its own."""
    content: dict[Id, dict[str, JsonValue]] = Field(default_factory=dict)
    """Candidate -> content that is laid over its own, in all placements and locales."""
    value: JsonValue = None
    """What a flag of the experiment's id gives to its units."""
    ranges: Ranges | None = None
    """The buckets of its units. Left to a publish, which moves the fewest units that it can."""


class Allocation(Part):
    """Who gets which variant, beside the weights that the variants say."""

    kind: Literal["fixed", "thompson", "interleaved"] = "fixed"
    """`thompson`: the weights move to the variants that the reward so far speaks for (the first metric that is no
    guardrail), and bind units from then on: each keeps the variant of the moment when it was seen first.
    `interleaved`: two variants rank, and every slate holds the picks of both; clicks tell which is preferred."""
    floor: Annotated[float, Field(ge=0.001, le=0.5)] = 0.05
    """Of `thompson`: least weight of each variant."""
    every: Duration | None = None
    """Of `thompson`: how often the weights move; once an hour if left out."""
    returning: Duration | None = None
    """Of `thompson`: customers, or visitors, who were known before the experiment began come in over so long, each at a
    moment of its own and under the weights of then; if left out, at once and under the first weights."""


class Move(Part):
    """Weights that moved."""

    since: Annotated[int, Field(ge=0)]
    """Microseconds since the epoch: they bind units that come in from then on."""
    weights: tuple[Share, ...]
    """Of each variant, in the order of these."""


class Experiment(Part):
    id: Id
    unit: Unit = "customer"
    """Who stays in one variant: the customer, through all joins of ids; or the anonymous visitor, after sign-in too."""
    layer: Id | None = None
    """Experiments of one layer share no unit; those of different layers know nothing of each other. Without one, the
    experiment has a layer of its own."""
    share: Share = 1.0
    """Of the layer's units, how many take part."""
    placements: tuple[Id, ...] | None = None
    """Where it applies; everywhere if left out."""
    eligibility: Expression | None = None
    """An expression in CEL that must hold, as a candidate's `rule`."""
    starts: Moment | None = None
    ends: Moment | None = None
    """Not included; but a day is, with all its hours."""
    status: Status = "draft"
    """Units have variants while it is `running`. In a `draft` only flags of a request give one; `stopped` gives none;
    and `rolled_out` gives one of them to everybody but the global holdout."""
    rolled_out: Id | None = None
    """The variant that everybody has."""
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=100)]
    analysis: Analysis = Analysis()
    allocation: Allocation = Allocation()
    moves: tuple[Move, ...] = ()
    """Weights since the first ones, the oldest first. Left to the service, which moves them."""
    slices: Ranges | None = None
    """The buckets of its layer. Left to a publish, as `ranges` are."""


class Holdout(Part):
    """Customers who are in no experiment and get nothing that was rolled out, to know what all of it is worth."""

    share: Annotated[float, Field(gt=0.0, le=0.5)]
    analysis: Analysis = Analysis()


class FlagRule(Part):
    """Who gets another variant of a flag than its default."""

    when: Expression
    """An expression in CEL, as an experiment's `eligibility`."""
    variant: Name


class Flag(Part):
    """A plain flag: a value that programs ask for by its id."""

    id: Id
    enabled: bool = True
    """False is the kill switch: whoever asks is told to use what the program has."""
    variants: Annotated[dict[Name, JsonValue], Field(min_length=1, max_length=100)]
    """Name -> value: all true or false, all texts, all numbers, all objects, or all lists."""
    default: Name
    """The variant of everybody for whom no rule holds."""
    rules: Annotated[tuple[FlagRule, ...], Field(max_length=100)] = ()
    """The first that holds decides."""
