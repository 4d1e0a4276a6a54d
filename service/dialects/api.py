"""POST /personalizer/v1.0/rank and /events/{id}/..., as Azure Personalizer had them; /rank/{model} and /feedback, as
metarank has them.
"""

import time
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody

from features.events.occurrences import LONGEST_ID
from service import bodies
from service.customers.paths import read_id
from service.decisions.request import InvalidError, new_id
from service.dialects import metarank, personalizer, problems
from service.dialects.memory import recall, take
from service.dialects.schema import (
    FeedbackAnswer,
    ItemsAnswer,
    MetarankError,
    PersonalizerError,
    RankAnswer,
    Ranking,
    RankRequest,
    RewardRequest,
)
from service.dialects.serving import find, keep, require_key, serve
from service.events.normalise import RejectedError

MOST_FEEDBACK = 2500
"""Events in one body."""
PERSONALIZER: dict[str, Any] = {
    "tags": ["dialects"],
    "exception_handlers": problems.handlers(problems.refuse_personalizer),
}
METARANK: dict[str, Any] = {"tags": ["dialects"], "exception_handlers": problems.handlers(problems.refuse_metarank)}


@post(
    "/personalizer/v1.0/rank",
    status_code=201,
    summary="Rank actions, as Azure Personalizer did",
    responses=problems.responses(RankAnswer, PersonalizerError, 201),
    **PERSONALIZER,
)
async def rank(
    data: JSONBody[RankRequest],
    request: Request[Any, Any, Any],
    state: State,
    placement: FromQuery[str | None] = None,
    customer: FromQuery[str | None] = None,
) -> Response[Any]:
    """Decide which action is the first. `placement` names one of the catalog (else `personalizer`, else the first);
    `customer` the visitor, without whom the event is one by itself.
    """
    require_key(request, state)
    if customer is not None and not 1 <= len(customer) <= LONGEST_ID:
        raise InvalidError("customer", f"a text of 1 to {LONGEST_ID} characters is expected")
    event_id = data.event_id or new_id(time.time_ns() // 1000)
    where = personalizer.place(state.live.frame.compiled, placement)
    asked = personalizer.translate(data, where, customer, event_id)
    body, remembered = await serve(
        state,
        asked,
        personalizer.supply(data),
        lambda slate, ids, reply: msgspec.json.encode(personalizer.word(data, slate, ids, reply)),
    )
    shown = msgspec.json.decode(body, type=RankAnswer).reward_action_id
    remembered = msgspec.structs.replace(remembered, shown=shown)
    await keep(state, event_id, remembered, [] if data.defer_activation else [personalizer.seen(event_id, remembered)])
    return Response(body, status_code=201, media_type="application/json")


@post(
    "/personalizer/v1.0/events/{event_id:str}/activate",
    status_code=204,
    summary="The first action is seen, as Azure Personalizer was told",
    responses=problems.responses(None, PersonalizerError, 204),
    **PERSONALIZER,
)
async def activate(event_id: FromPath[str], request: Request[Any, Any, Any], state: State) -> None:
    """For ranks that defer it: from now on, the first action counts as seen."""
    require_key(request, state)
    event_id = read_id(event_id)
    event = personalizer.seen(event_id, await find(state, event_id))
    await take(state, [event], time.time_ns() // 1000)


@post(
    "/personalizer/v1.0/events/{event_id:str}/reward",
    status_code=204,
    summary="What came of a rank, as Azure Personalizer was told",
    responses=problems.responses(None, PersonalizerError, 204),
    **PERSONALIZER,
)
async def reward(
    event_id: FromPath[str], data: JSONBody[RewardRequest], request: Request[Any, Any, Any], state: State
) -> None:
    """More than nothing counts as a click on the first action, less as that it was declined; the first counts."""
    require_key(request, state)
    event_id = read_id(event_id)
    event = personalizer.reward(event_id, await find(state, event_id), data.value)
    await take(state, [] if event is None else [event], time.time_ns() // 1000)


@post(
    "/rank/{model:str}",
    status_code=200,
    summary="Rank items, as metarank does",
    responses=problems.responses(ItemsAnswer, MetarankError),
    **METARANK,
)
async def rank_items(
    model: FromPath[str], data: JSONBody[Ranking], state: State, explain: FromQuery[bool] = False
) -> Response[Any]:
    """Order items for a visitor; `model` names a placement of the catalog."""
    asked = metarank.translate(data, model)
    body, remembered = await serve(
        state,
        asked,
        metarank.supply(data),
        lambda slate, ids, reply: msgspec.json.encode(metarank.word(slate, ids, reply, explain)),
    )
    await keep(state, data.id, remembered)
    return Response(body, media_type="application/json")


@post(
    "/feedback",
    status_code=200,
    summary="Take in events, as metarank does",
    responses=problems.responses(FeedbackAnswer, MetarankError),
    **METARANK,
)
async def feedback(request: Request[Any, Any, Any], state: State) -> Response[Any]:
    """One event, a list of them, or one a line: rankings that were seen, interactions, users. Either all are taken or
    none is.
    """
    require_key(request, state)
    received = time.time_ns() // 1000
    events = metarank.parse(_lines(await request.body()))
    if len(events) > MOST_FEEDBACK:
        raise InvalidError("body", f"at most {MOST_FEEDBACK} events may come at once")
    known = await recall(state.store, metarank.rankings_of(events))
    told = [metarank.tell(event, known) for event in events]
    try:
        await take(state, [message for messages in told for message in messages], received)
    except RejectedError as error:
        raise InvalidError(error.field or "body", error.detail) from error
    silent = sum(not messages for messages in told)
    answer = FeedbackAnswer(
        accepted=len(events) - silent,
        status="ok",
        took_millis=(time.time_ns() // 1000 - received) // 1000,
        updated=0,
        ignored={"item": silent} if silent else {},
    )
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _lines(body: bytes) -> Any:
    """A body's document, or the list of its lines' documents."""
    first, _, rest = body.strip().partition(b"\n")
    if first.rstrip().endswith(b"}") and rest.lstrip().startswith(b"{"):
        return [bodies.read(line) for line in body.splitlines() if line.strip()]
    return bodies.read(body)


handlers = [rank, activate, reward, rank_items, feedback]
