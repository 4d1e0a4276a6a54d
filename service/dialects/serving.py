"""What the dialects do alike: check the key, decide with the candidates of the request, and remember the decision."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from service.decisions.pipeline import decide
from service.decisions.request import InvalidError
from service.decisions.store import UnreachableError
from service.dialects.memory import ATTRIBUTES, Remembered, recall, remember, take
from service.dialects.supplied import lay_out
from service.events import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litestar import Request
    from litestar.datastructures import State

    from service.decisions.choose import Chosen, Slate
    from service.decisions.question import Question
    from service.decisions.schema import DecisionAnswer, DecisionRequest
    from service.dialects.supplied import Supplied

SUBSCRIPTION = "ocp-apim-subscription-key"


def require_key(request: Request[Any, Any, Any], state: State) -> None:
    """Raises InvalidError unless the request brings a write key, where some are set."""
    brought = request.headers.get(SUBSCRIPTION)
    if not keys.is_known(state.settings.write_keys, request.headers.get("authorization", ""), brought):
        raise InvalidError(
            "", "send a write key: as Ocp-Apim-Subscription-Key, Bearer token or user name of Basic", 401
        )


async def serve(
    state: State,
    asked: DecisionRequest,
    supplied: Sequence[Supplied],
    word: Callable[[Slate, Sequence[str], DecisionAnswer], bytes],
) -> tuple[bytes, Remembered]:
    """The answer to a request for one placement, as `word` puts it (given the ids of the pool), and what to remember.

    Raises InvalidError.
    """
    frame = lay_out(state.live, supplied)

    def express(question: Question, chosen: Chosen, reply: DecisionAnswer) -> bytes:
        [slate] = chosen.slates
        candidates = question.frame.compiled.candidates
        return word(slate, [candidates[at].id for at in slate.pool.places.tolist()], reply)

    body = await decide(state.live, state.store, state.settings, asked, frame, express)
    attributes = {one["id"]: _told(one["attributes"]) for one in frame.supplied if "attributes" in one}
    remembered = Remembered(
        placement=asked.placements[0].id,
        customer_id=asked.customer_id,
        anonymous_id=asked.anonymous_id,
        attributes={text: told for text, told in attributes.items() if told},
    )
    return body, remembered


async def keep(state: State, decision_id: str, remembered: Remembered, events: Sequence[dict[str, Any]] = ()) -> None:
    """Remember a decision that is answered, and what came with it: nothing that is away keeps the answer back."""
    with contextlib.suppress(UnreachableError):
        await remember(state.store, decision_id, remembered)
        await take(state, events, time.time_ns() // 1000)


async def find(state: State, decision_id: str) -> Remembered:
    """Raises InvalidError (404) for what was never ranked, or longer ago than is remembered."""
    found = await recall(state.store, [decision_id])
    if decision_id not in found:
        raise InvalidError("eventId", f"no rank of the last day has the event id {decision_id!r}", 404)
    return found[decision_id]


def _told(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: attributes[name] for name in ATTRIBUTES if name in attributes}
