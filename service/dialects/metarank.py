"""metarank, translated: its rankings as decisions, its feedback as events. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from models.policy import order
from service.decisions.request import InvalidError
from service.decisions.schema import AskedPlacement, DecisionRequest
from service.dialects.memory import message_id
from service.dialects.schema import ItemsAnswer, ItemScore, NamedValue, Ranking
from service.dialects.supplied import Supplied, finite
from service.problems import split_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.decisions.choose import Slate
    from service.decisions.schema import DecisionAnswer
    from service.dialects.memory import Remembered
    from service.dialects.schema import Field

DIALECT = "metarank"
NAMES = {
    "click": "Product Viewed",
    "view": "Product Viewed",
    "cart": "Product Added",
    "add_to_cart": "Product Added",
    "purchase": "Order Completed",
    "order": "Order Completed",
    "buy": "Order Completed",
}
"""Types of interactions, as events; a click on a ranking is one on what was shown. Others keep their name."""


class Interaction(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    item: str
    type: str
    timestamp: str | float | None = None
    ranking: str | None = None
    user: str | None = None
    session: str | None = None
    fields: list[dict[str, Any]] = []


class UserEvent(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    user: str
    timestamp: str | float | None = None
    fields: list[dict[str, Any]] = []


class ItemEvent(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    item: str


KINDS = {"ranking": Ranking, "interaction": Interaction, "user": UserEvent, "item": ItemEvent}
Feedback = Ranking | Interaction | UserEvent | ItemEvent


def gather(fields: Sequence[Field]) -> dict[str, Any]:
    return {field.name: field.value for field in fields}


def translate(data: Ranking, placement: str) -> DecisionRequest:
    """Raises InvalidError."""
    ids = [item.id for item in data.items]
    if len(set(ids)) < len(ids):
        raise InvalidError("items", "an item may stand here once only")
    return DecisionRequest(
        placements=[AskedPlacement(id=placement, candidates=ids)],
        customer_id=data.user,
        anonymous_id=data.session or (None if data.user else data.id),
        context=gather(data.fields),
        decision_id=data.id,
    )


def supply(data: Ranking) -> list[Supplied]:
    return [Supplied(item.id, gather(item.fields)) for item in data.items]


def word(slate: Slate, ids: Sequence[str], reply: DecisionAnswer, explain: bool) -> ItemsAnswer:
    """What the placement shows, in its order, and then the other items by priority; those that may not be shown are
    not there. `ids` are those of the pool.
    """
    picked = [picked.at for picked in slate.picks]
    others = [at for at in order(slate.priority) if slate.legal[at] and at not in picked]
    scored = [
        ItemScore(
            item=ids[at], score=finite(float(slate.priority[at])), features=_values(slate, at) if explain else None
        )
        for at in (*picked, *others)
    ]
    if slate.fell_back:
        scored = [ItemScore(item=item.id, score=item.priority) for item in reply.placements[0].items]
    return ItemsAnswer(took=round(reply.took_ms), items=scored)


def _values(slate: Slate, at: int) -> list[NamedValue]:
    values = ((name, float(column[at])) for name, column in slate.features.items())
    return [NamedValue(name=name, value=value) for name, value in values if not np.isnan(value)]


def parse(body: Any) -> list[Feedback]:
    """The events of a body: one, or a list of them. Raises InvalidError."""
    events = body if isinstance(body, list) else [body]
    return [_parse(event, f"[{at}]" if isinstance(body, list) else "") for at, event in enumerate(events)]


def _parse(event: Any, where: str) -> Feedback:
    shape = KINDS.get(str(event.get("event"))) if isinstance(event, dict) else None
    if shape is None:
        raise InvalidError(f"{where}.event".lstrip("."), f"one of {', '.join(KINDS)} is expected")
    try:
        found: Feedback = msgspec.convert({"data": event}, _bodies[shape]).data
    except msgspec.ValidationError as error:
        reason, field = split_message(str(error))
        raise InvalidError(".".join(part for part in (where, field) if part) or "body", reason) from error
    return found


_bodies: dict[type, Any] = {
    shape: msgspec.defstruct(f"{shape.__name__}Body", [("data", shape)]) for shape in KINDS.values()
}


def rankings_of(events: Sequence[Feedback]) -> list[str]:
    """Ids of the rankings that the events are about."""
    found = [event.id if isinstance(event, Ranking) else getattr(event, "ranking", None) for event in events]
    return [one for one in found if one]


def tell(event: Feedback, rankings: Mapping[str, Remembered]) -> list[dict[str, Any]]:
    """The events that Kairos keeps of one of metarank's. An item's fields come with the ranking or the catalog."""
    if isinstance(event, ItemEvent):
        return []
    if isinstance(event, UserEvent):
        traits = {str(field.get("name")): field.get("value") for field in event.fields}
        return [_message(event, "identify", userId=event.user, traits=traits)]
    if isinstance(event, Ranking):
        known = rankings.get(event.id)
        return [
            _track(event, known, "Promotion Viewed", {"promotion_id": item.id, "position": at}, item.id)
            for at, item in enumerate(event.items, 1)
        ]
    known = rankings.get(event.ranking or "")
    if known is not None and event.type == "click":
        return [_track(event, known, "Promotion Clicked", {"promotion_id": event.item}, event.item)]
    name = NAMES.get(event.type, event.type)
    properties: dict[str, Any] = {"product_id": event.item}
    return [_track(event, None, name, {"products": [properties]} if name == "Order Completed" else properties)]


def _track(
    event: Ranking | Interaction, known: Remembered | None, name: str, properties: dict[str, Any], item: str = ""
) -> dict[str, Any]:
    told = dict(properties)
    user, session = event.user, event.session
    if known is not None:
        ranking = event.id if isinstance(event, Ranking) else event.ranking
        told |= {"decision_id": ranking, "placement": known.placement, **known.attributes.get(item, {})}
        user, session = user or known.customer_id, session or known.anonymous_id
    if not user and not session:
        session = event.id
    return _message(event, "track", item, event=name, userId=user, anonymousId=session, properties=told)


def _message(of: Any, kind: str, part: str = "", **said: Any) -> dict[str, Any]:
    time = of.timestamp
    if isinstance(time, str) and time.isdecimal() and len(time) < 20:
        time = float(time)
    own = message_id(DIALECT, of.id, kind, part)
    return {"type": kind, "messageId": own, "timestamp": time, **said}
