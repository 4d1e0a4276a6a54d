"""What bounds attention, as the catalog states it: groups, caps and budgets, and what they count."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from service.catalog.parts import Count, Duration, Id, Kind, Part, Word

Axis = Literal["customer", "candidate", "category", "group", "placement", "channel"]


class Group(Part):
    """Candidates that belong together, named by their `group`."""

    id: Id
    title: str = ""
    at_most: Annotated[int, Field(ge=1, le=100)] | None = None
    """How many of the group may stand on one page."""


class Scope(Part):
    """What a cap or a budget counts: whatever is in all lists that are given. Placements' defaults never count."""

    candidates: tuple[Id, ...] = ()
    categories: tuple[Word, ...] = ()
    groups: tuple[Id, ...] = ()
    kinds: tuple[Kind, ...] = ()
    tags: tuple[Word, ...] = ()
    placements: tuple[Id, ...] = ()
    channels: tuple[Word, ...] = ()


class Cap(Part):
    """At most `limit` exposures in each period, counted apart for each combination of `per`."""

    id: Id
    """Counts are kept under it: a cap that keeps its id keeps its counts."""
    per: Annotated[list[Axis], Field(min_length=1)]
    limit: Count
    period: Duration
    scope: Scope = Scope()


class Budget(Part):
    """At most `limit` exposures of all customers together: in each period, or ever."""

    id: Id
    limit: Count
    period: Duration | None = None
    scope: Scope = Scope()
