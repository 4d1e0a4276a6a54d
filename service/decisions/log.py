"""GET /v1/decisions/{id}: a decision from the log, in the streams or in the archive."""

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from redis import Redis, RedisError

from features.connection import ONCE
from features.events.schema import Decision, Served, Slot
from features.settings import Settings
from service.customers.access import refuse
from service.customers.paths import read_id
from service.decisions import lookup
from service.decisions.log_schema import LoggedDecision, LoggedItem, LoggedPlacement
from service.decisions.record import timestamp
from service.decisions.schema import AnsweredExperiment
from service.problems import PROBLEMS, respond

LONGEST_ID = 256
SECONDS = 2.0
"""For each answer of Redis."""


@get(
    "/v1/decisions/{id:str}",
    tags=["decisions"],
    summary="A decision from the log",
    status_code=200,
    responses={
        200: ResponseSpec(LoggedDecision, description="As it was served.", generate_examples=False),
        **{status: PROBLEMS[status] for status in (400, 401, 403, 404, 503)},
    },
)
async def logged(id: FromPath[str], request: Request[Any, Any, Any], state: State) -> Response[Any]:  # noqa: A002  # the path's word
    """What was shown, what was not and why, with what probability, by which model and catalog.

    It is there as soon as it was answered; one that is made while Redis is away, when that is back.
    """
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    decision_id = read_id(id)
    if len(decision_id) > LONGEST_ID:
        return respond("The request is not valid", 400, f"an id has at most {LONGEST_ID} characters", "id")
    try:
        found = await asyncio.to_thread(_find, state.settings, state.redis_url, decision_id)
    except RedisError:
        detail = "it is not in the archive, and Redis, which may have it, does not answer"
        return respond("This cannot be told now", 503, detail, **{"Retry-After": "1"})
    if found is None:
        return respond("There is nothing here", 404, f"no decision {decision_id!r} is in the log", "id")
    return Response(tell(found))


def _find(settings: Settings, redis_url: str, decision_id: str) -> Decision | None:
    try:
        with Redis.from_url(redis_url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=ONCE) as redis:
            return lookup.find(redis, settings.partitions, settings.home.archive, decision_id)
    except RedisError:
        found = lookup.find_archived(settings.home.archive, decision_id)
        if found is None:
            raise
        return found


def tell(decision: Decision) -> LoggedDecision:
    state, snapshot_time = decision.state, decision.snapshot_time
    return LoggedDecision(
        decision_id=decision.decision_id or decision.seed,
        customer=decision.customer,
        customer_id=decision.user_id,
        anonymous_id=decision.anonymous_id,
        time=timestamp(decision.time),
        rung=decision.rung,
        catalog_version=decision.catalog_version,
        snapshot=decision.snapshot,
        snapshot_time=timestamp(snapshot_time) if snapshot_time else None,
        features_as_of=None if state is None else timestamp(state.applied),
        readable=decision.readable,
        context=decision.context,
        events=[msgspec.to_builtins(event) for event in decision.events],
        experiments=[
            AnsweredExperiment(id=name, variant=variant, forced=name in decision.forced)
            for name, variant in decision.variants.items()
        ],
        placements=[_tell_slot(slot, decision.rung) for slot in decision.placements],
        supplied=decision.supplied,
        attention=None if decision.attention is None else msgspec.to_builtins(decision.attention, str_keys=True),
    )


def _tell_slot(slot: Slot, rung: str) -> LoggedPlacement:
    return LoggedPlacement(
        id=slot.id,
        limit=slot.limit,
        candidates=slot.candidates,
        rung=slot.rung or rung,
        model=slot.model,
        exploration=slot.exploration,
        items=[_tell_item(item) for item in slot.items],
        rejected=slot.rejected,
        would=[_tell_item(item) for item in slot.would],
    )


def _tell_item(item: Served) -> LoggedItem:
    return LoggedItem(
        id=item.id,
        rank=item.rank,
        propensity=item.propensity,
        value=item.value,
        priority=item.priority,
        selection_probability=item.selection_probability,
    )


handlers = [logged]
