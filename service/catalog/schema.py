"""The shape of the catalog document."""

# No `from __future__ import annotations`: the annotations are read when the program runs.
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, JsonValue, field_validator

from service.catalog.experiments import Experiment, Flag, Holdout, Strategy, ValueFrom
from service.catalog.limits import Budget, Cap, Group
from service.catalog.parts import (
    Duration,
    Expression,
    Id,
    Kind,
    Locale,
    Moment,
    Part,
    Share,
    Size,
    Word,
    Worth,
)

Content = dict[str, JsonValue]
CHAMPION = "champion"
"""The alias of the model that scores where nothing else is said; it may come later than the catalog."""
Most = dict[Literal["category", "group", "kind"], Annotated[int, Field(ge=1, le=100)]]


class Window(Part):
    """A time in which a candidate may be shown."""

    opens: Moment | None = Field(default=None, alias="from")
    """A day begins at midnight in the catalog's time zone."""
    closes: Moment | None = Field(default=None, alias="until")
    """Not included; but a day is, with all its hours."""


class Variation(Part):
    """Content that differs in a placement, a locale, or both: it is laid over the candidate's, key by key."""

    placement: Id | None = None
    locale: Locale | None = None
    """`de` holds for `de-AT` too, unless that has its own."""
    content: Content = Field(default_factory=dict)
    fallback: Content = Field(default_factory=dict)


class Candidate(Part):
    """Something we may show or do."""

    id: Id
    kind: Kind = "offer"
    title: str = ""
    category: str = ""
    group: Id | None = None
    """One of the catalog's groups."""
    tags: tuple[Word, ...] = ()
    price: Size = 0.0
    value: Worth = 1.0
    """Expected margin per reward in the catalog's currency: a number, or an expression in CEL."""
    weight: Size = 1.0
    placements: tuple[Id, ...] = ()
    """Where it may be shown; everywhere if left out."""
    content: Content = Field(default_factory=dict)
    """What the page shows. Texts may be templates: `Hello {{ traits.first_name }}`."""
    fallback: Content = Field(default_factory=dict)
    """For each key of the content with a template: what stands there when a value of the template is missing."""
    content_for: tuple[Variation, ...] = ()
    windows: tuple[Window, ...] = ()
    """When it may be shown; always if left out."""
    personal_window: Duration | None = None
    """How long it may be shown to a customer, from the first time that they saw it."""
    stock: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    """How often it may be shown to anybody at all."""
    rule: Expression | None = None
    """An expression in CEL that must hold, as in `features.customer__product_viewed__count_1d > 2.0`."""
    not_if_bought_within: Duration | None = None
    not_if_declined_within: Duration | None = None
    conflicts: tuple[Id, ...] = ()
    """Groups of which nothing may stand on a page with this candidate."""


class Attribution(Part):
    """For how long after an exposure a reward counts for it, to training."""

    click: Duration | None = None
    """Half an hour if left out."""
    conversion: Duration | None = None
    """Seven days if left out."""


class Placement(Part):
    """A place on the page."""

    id: Id
    channel: Word = "web"
    limit: Annotated[int, Field(ge=1, le=100)] = 1
    default: Id
    """The candidate that is served when nothing else may be: without rule, cap or stock."""
    candidates: list[Id] | None = None
    """Candidates that compete here; all that may be shown here if left out."""
    excluded: tuple[Id, ...] = ()
    """Candidates that are never shown here, not even when the request names them."""
    pinned: tuple[Id, ...] = ()
    """Candidates that come first, in this order, if they may be shown."""
    shortlist: Annotated[int, Field(ge=1, le=1000)] = 1000
    """At most so many compete: the most popular of them."""
    strategy: Strategy = "value"
    """The order: propensity x value x weight; propensity alone; or the order of the document."""
    value_from: ValueFrom = "catalog"
    """Whose word counts for what a reward is worth: the catalog's, or the model's, where it was trained to tell
    (`kairos train --value revenue`)."""
    at_most: Most = Field(default_factory=dict)
    """Diversity: how many of one category, group or kind may stand in this placement."""
    exploration: Share = 0.05
    """Chance at each rank that the pick is drawn uniformly instead."""
    floor: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Least chance of each candidate that may be shown, at each rank; exploration is raised where it takes that."""
    thompson: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Candidates that were seen less often than this are ranked by a draw of what their propensity may be (Thompson
    sampling), so that new ones get their chance; 0: none are."""
    apprentice: bool = False
    """The default is served, and what would have been chosen is logged: to watch a model before it decides."""
    model: str = CHAMPION
    """The alias of the model that scores."""
    attribution: Attribution | None = None


class Consent(Part):
    """What holds for customers who have not said anything."""

    tracking: bool = True
    """Events are kept and become features; else they are counted only."""
    personalisation: bool = True
    """Decisions use what is known of the customer; else the context only."""
    marketing: bool = False
    """The customer may be written to."""


class PlacementDefaults(Part):
    """What holds in every placement that does not say otherwise."""

    channel: Word | None = None
    limit: Annotated[int, Field(ge=1, le=100)] | None = None
    shortlist: Annotated[int, Field(ge=1, le=1000)] | None = None
    strategy: Strategy | None = None
    value_from: ValueFrom | None = None
    at_most: Most | None = None
    exploration: Share | None = None
    model: str | None = None


class CandidateDefaults(Part):
    """What holds for every candidate that does not say otherwise."""

    kind: Kind | None = None
    category: str | None = None
    value: Worth | None = None
    weight: Size | None = None


class Defaults(Part):
    placement: PlacementDefaults = PlacementDefaults()
    candidate: CandidateDefaults = CandidateDefaults()


class Catalog(Part):
    """The whole document."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    time_zone: str = "UTC"
    defaults: Defaults = Defaults()
    placements: Annotated[list[Placement], Field(min_length=1)]
    candidates: Annotated[list[Candidate], Field(min_length=1)]
    groups: tuple[Group, ...] = ()
    caps: tuple[Cap, ...] = ()
    budgets: tuple[Budget, ...] = ()
    holdout: Holdout | None = None
    experiments: tuple[Experiment, ...] = ()
    flags: tuple[Flag, ...] = ()
    consent: Consent = Consent()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # the last: a folder of zones, as Europe is
            raise ValueError("a time zone like Europe/Berlin is expected") from error
        return name
