"""HTTP shapes of the dialects, and nothing else. Fields that are not known are passed over, as those services did."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Id = Annotated[str, Meta(min_length=1, max_length=256)]


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something that may be ranked first."""

    id: Id
    features: list[dict[str, Any]] | None = None


class RankRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What Azure Personalizer was asked."""

    actions: Annotated[list[Action], Meta(min_length=1, max_length=50)]
    context_features: list[dict[str, Any]] | None = None
    excluded_actions: list[Id] | None = None
    event_id: Id | None = None
    """The decision's id: the same one and the same body get the same answer."""
    defer_activation: bool = False
    """Whether the first action counts as seen only once the event is activated."""


class RankedAction(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    probability: float
    """The chance that it was to be the first."""


class RankAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    ranking: list[RankedAction]
    event_id: str
    reward_action_id: str


class RewardRequest(msgspec.Struct, frozen=True, kw_only=True):
    value: Annotated[float, Meta(ge=-1.0, le=1.0)]


class PersonalizerFault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    code: str
    """`BadRequest`, `ResourceNotFound` or `InternalServerError`."""
    message: str
    target: str | None = None


class PersonalizerError(msgspec.Struct, frozen=True, kw_only=True):
    error: PersonalizerFault


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """What metarank calls a field: a name, and a text, number, flag or a list of them."""

    name: Id
    value: Any = None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    id: Id
    fields: list[Field] = []


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """What metarank was asked: a ranking event."""

    id: Id
    """The decision's id."""
    items: Annotated[list[Item], Meta(min_length=1, max_length=1000)]
    timestamp: str | float | None = None
    user: Id | None = None
    session: Id | None = None
    fields: list[Field] = []


class NamedValue(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    value: float


class ItemScore(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    item: str
    score: float
    """Its priority. The order of the items is what counts: where there is exploration, they differ."""
    features: list[NamedValue] | None = None


class ItemsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    took: int
    items: list[ItemScore]


class FeedbackAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    accepted: int
    """How many of them are kept as events."""
    status: str
    took_millis: int
    updated: int
    ignored: dict[str, int] = {}
    """By kind, those that tell nothing that is kept."""


class MetarankError(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    """`error`"""
    message: str
