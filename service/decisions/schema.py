"""HTTP shapes of the decision API, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Id = Annotated[str, Meta(min_length=1, max_length=256)]


class AskedPlacement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A placement of the page."""

    id: Id
    limit: Annotated[int, Meta(ge=1, le=100)] | None = None
    """Most items to answer; the catalog's limit if left out."""
    candidates: Annotated[list[Id], Meta(min_length=1, max_length=1000)] | None = None
    """Only these candidates compete, if given."""
    deadline_ms: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Where the features come too late for this, the placement is filled from a lower rung; the others wait on."""


class InlineEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event of this very page view: seen by this decision, and stored once with it."""

    type: str = "track"
    event: str | None = None
    name: str | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    group_id: Id | None = None
    previous_id: Id | None = None
    timestamp: str | float | None = None
    message_id: Id | None = None


class DecisionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a page asks. One of `customer_id` and `anonymous_id` is required."""

    placements: Annotated[list[AskedPlacement], Meta(min_length=1, max_length=50)]
    customer_id: Id | None = None
    anonymous_id: Id | None = None
    context: dict[str, Any] = {}
    events: Annotated[list[InlineEvent], Meta(max_length=100)] = []
    decision_id: Id | None = None
    """Makes a retry safe: for 15 minutes the same id and body get the stored answer."""
    flags: dict[str, str] = {}
    """Experiment -> variant, to force it (QA, previews)."""
    after: Annotated[str, Meta(max_length=2000)] | None = None
    """The token of an event's answer: wait, within the deadline, until that event is in the features."""
    deadline_ms: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    explain: bool = False
    """Adds why each item was chosen, why others were not, and the age of each feature view."""


class AnsweredItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One candidate to show."""

    id: str
    kind: str
    rank: int
    propensity: float | None
    value: float
    priority: float
    selection_probability: float | None
    """Of the item at its rank, given those above it; null where a variant was forced, and in interleaved slates."""
    content: dict[str, Any]
    expires_at: str | None = None
    """The end of the customer's own window for this candidate, where it has one."""


class Contribution(msgspec.Struct, frozen=True, kw_only=True):
    """How one feature moved an item's score (log-odds), against the model's average."""

    feature: str
    value: float | str | None
    contribution: float
    words: str


class ExplainedItem(msgspec.Struct, frozen=True, kw_only=True):
    """Why one item scored as it did: `score` = `base` + the contributions + `others`. Only on rung `model`."""

    id: str
    score: float | None = None
    """The model's raw score, log-odds before calibration."""
    base: float | None = None
    """The score of nobody in particular."""
    contributions: list[Contribution] = []
    """The strongest, strongest first."""
    others: float | None = None
    """What all other features add up to."""


class NotShown(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    reason: str
    priority: float | None = None
    words: str = ""
    """The reason in a sentence."""
    inputs: dict[str, Any] = {}
    """What it was decided by, by name: values that a rule read, a limit and its count, times."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a candidate that would have to be above another, all else as it is."""

    what: Literal["value", "weight", "propensity"]
    now: float
    needed: float


class RunnerUp(msgspec.Struct, frozen=True, kw_only=True):
    """The best that might have been shown and was not."""

    id: str
    priority: float | None
    needed: float | None = None
    """What its priority would have to exceed; null where none would do, or only exploration kept it out."""
    changes: list[Change] = []
    """Each would do by itself."""
    words: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ExplainedItem]
    not_shown: list[NotShown]
    runner_up: RunnerUp | None = None


class AnsweredPlacement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    items: list[AnsweredItem]
    rung: str
    """How this placement was filled."""
    explanation: Explanation | None = None


class AnsweredExperiment(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    variant: str
    forced: bool


class AnsweredModel(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    reward: str


View = Literal["customer", "candidate", "successors", "attributes"]


class ViewAge(msgspec.Struct, frozen=True, kw_only=True):
    """How old the values of one feature view were when they were read."""

    view: View
    """`customer`: the visitor's row, inline events apart; `candidate` and `successors`: the snapshot of all candidates'
    features; `attributes`: what the catalog says of them."""
    version: str | None
    """Number of the snapshot, version of the catalog; null for the customer."""
    as_of: str | None
    """Of the customer, when the last event in the row arrived; of the snapshot, when it was taken. Null for what is not
    there, and for the catalog, which holds until it is replaced."""
    age_seconds: float | None
    """From `as_of` to the decision."""
    expired: bool = False
    """Older than the view's TTL: the decision counted it as missing."""


class DecisionAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to show."""

    decision_id: str
    took_ms: float
    rung: str
    """How it was made: `model`, `prior` (smoothed popularity) or `static` (the catalog's order)."""
    features_as_of: str | None
    """Time of the last event in the customer's features; null for a customer without any within the view's TTL, or
    unread."""
    placements: list[AnsweredPlacement]
    experiments: list[AnsweredExperiment]
    model: AnsweredModel | None
    catalog_version: str
    personalised: bool = True
    """False: the customer does not allow it, and the decision used the context only."""
    ages: list[ViewAge] | None = None
    """The age of each feature view that was read; only with `explain`."""
