"""Azure Personalizer v1.0, translated: what it asked as a decision, what was decided as its ranking. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.policy import order
from service.decisions.request import InvalidError
from service.decisions.schema import AskedPlacement, DecisionRequest
from service.dialects.memory import message_id
from service.dialects.schema import RankAnswer, RankedAction
from service.dialects.supplied import Supplied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from service.catalog.compiled import Compiled
    from service.decisions.choose import Slate
    from service.decisions.schema import DecisionAnswer
    from service.dialects.memory import Remembered
    from service.dialects.schema import RankRequest

    Floats = NDArray[np.float64]

DIALECT = "personalizer"


def place(compiled: Compiled, asked: str | None) -> str:
    """The placement: the one that is asked for, else `personalizer`, else the catalog's first."""
    if asked is not None:
        return asked
    return DIALECT if DIALECT in compiled.placements else compiled.document.placements[0].id


def flatten(features: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """A list of feature objects as one; what is said twice holds as it is said last."""
    return {name: value for one in features or () for name, value in one.items()}


def translate(data: RankRequest, placement: str, customer: str | None, event_id: str) -> DecisionRequest:
    """Personalizer knows no visitors: without a `customer`, the event is one by itself. Raises InvalidError."""
    ids = [action.id for action in data.actions]
    if len(set(ids)) < len(ids):
        raise InvalidError("actions", "an action may stand here once only")
    excluded = frozenset(data.excluded_actions or ())
    if strangers := sorted(excluded.difference(ids)):
        raise InvalidError("excludedActions", f"{strangers[0]!r} is none of the actions")
    competing = [text for text in ids if text not in excluded]
    if not competing:
        raise InvalidError("excludedActions", "all actions are excluded")
    return DecisionRequest(
        placements=[AskedPlacement(id=placement, limit=1, candidates=competing)],
        customer_id=customer,
        anonymous_id=None if customer else event_id,
        context=flatten(data.context_features),
        decision_id=event_id,
    )


def supply(data: RankRequest) -> list[Supplied]:
    """Those that compete come first."""
    excluded = frozenset(data.excluded_actions or ())
    ordered = sorted(data.actions, key=lambda action: action.id in excluded)
    return [Supplied(action.id, flatten(action.features)) for action in ordered]


def word(data: RankRequest, slate: Slate, ids: Sequence[str], reply: DecisionAnswer) -> RankAnswer:
    """The ranking: first what was picked, then by priority, then what may not be shown; what the request excluded
    keeps its place. `ids` are those of the pool.
    """
    chance = dict(zip(ids, chances(slate).tolist(), strict=True))
    items = reply.placements[0].items
    shown = items[0].id if items else ""
    if slate.fell_back:
        chance = dict.fromkeys(chance, 0.0) | {shown: 1.0}
    best = [ids[at] for at in order(slate.priority) if slate.legal[at]]
    excluded = frozenset(data.excluded_actions or ())
    actions = [action.id for action in data.actions]
    competing = [text for text in actions if text not in excluded]
    ranked = iter(sorted(competing, key=lambda text: (text != shown, best.index(text) if text in best else len(best))))
    ordered = [text if text in excluded else next(ranked) for text in actions]
    return RankAnswer(
        ranking=[RankedAction(id=text, probability=chance.get(text, 0.0)) for text in ordered],
        event_id=reply.decision_id,
        reward_action_id=shown,
    )


def chances(slate: Slate) -> Floats:
    """(pool,) the chance of each to be first: that of what was picked is the logged one, the others share the rest as
    the exploration of the placement has it.
    """
    chance = np.zeros(len(slate.pool.places))
    if not slate.picks:
        return chance
    ranked = [at for at in order(slate.priority) if slate.legal[at]]
    pinned = [at for at in slate.pool.pinned if slate.legal[at]]
    if not pinned:
        chance[ranked] = slate.exploration / len(ranked)
        chance[ranked[0]] += 1.0 - slate.exploration
    first, logged = slate.picks[0].at, slate.picks[0].selection_probability
    others = chance.sum() - chance[first]
    if others > 0.0:
        chance *= (1.0 - logged) / others
    chance[first] = logged
    return chance


def seen(event_id: str, remembered: Remembered) -> dict[str, Any]:
    """The event of an exposure."""
    return _event(event_id, remembered, "Promotion Viewed", {})


def reward(event_id: str, remembered: Remembered, value: float) -> dict[str, Any] | None:
    """The event of a reward, the first of which counts; none for nothing, which is what no reward means."""
    if value == 0.0:
        return None
    return _event(event_id, remembered, "Promotion Clicked" if value > 0 else "Promotion Declined", {"reward": value})


def _event(event_id: str, remembered: Remembered, name: str, properties: dict[str, Any]) -> dict[str, Any]:
    part = "reward" if properties else "seen"
    return {
        "type": "track",
        "event": name,
        "messageId": message_id(DIALECT, event_id, part),
        "userId": remembered.customer_id,
        "anonymousId": remembered.anonymous_id,
        "properties": {
            "promotion_id": remembered.shown,
            "decision_id": event_id,
            "placement": remembered.placement,
            "position": 1,
            **remembered.attributes.get(remembered.shown, {}),
            **properties,
        },
    }
