"""The shape of the catalog document."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

Id = Annotated[str, Field(min_length=1, max_length=256)]
MOST = 1e12
"""Of any amount, so that products of amounts stay finite."""
Amount = Annotated[float, Field(ge=-MOST, le=MOST)]
Size = Annotated[float, Field(ge=0.0, le=MOST)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Candidate(Part):
    """Something we may show or do."""

    id: Id
    kind: Literal["offer", "content", "action"] = "offer"
    title: str = ""
    category: str = ""
    price: Size = 0.0
    value: Amount = 1.0
    """Expected margin per reward, in the catalog's currency."""
    weight: Size = 1.0
    content: dict[str, JsonValue] = {}
    """What the page shows; answered as it is."""


class Placement(Part):
    """A place on the page."""

    id: Id
    limit: Annotated[int, Field(ge=1, le=100)] = 1
    default: Id
    """The candidate that is served when nothing else may be: without rule, cap or stock."""
    candidates: list[Id] | None = None
    """Candidates that compete here; all of the catalog if left out."""
    shortlist: Annotated[int, Field(ge=1, le=1000)] = 200
    """At most so many compete: the most popular of them."""
    exploration: Share = 0.05
    """Chance at each rank that the pick is drawn uniformly instead."""
    model: str = "champion"
    """The alias of the model that scores."""


class Variant(Part):
    """An arm of an experiment: what it changes."""

    id: Id
    model: str | None = None
    exploration: Share | None = None


class Experiment(Part):
    id: Id
    placements: list[Id] | None = None
    """Where it applies; everywhere if left out."""
    variants: Annotated[list[Variant], Field(min_length=1)]


class Consent(Part):
    """What holds for customers who have not said anything."""

    tracking: bool = True
    """Events are kept and become features; else they are counted only."""
    personalisation: bool = True
    """Decisions use what is known of the customer; else the context only."""
    marketing: bool = False
    """The customer may be written to."""


class Catalog(Part):
    """The whole document."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    time_zone: str = "UTC"
    placements: Annotated[list[Placement], Field(min_length=1)]
    candidates: Annotated[list[Candidate], Field(min_length=1)]
    experiments: list[Experiment] = []
    consent: Consent = Consent()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("a time zone like Europe/Berlin is expected") from error
        return name
