"""GET and DELETE /v1/customers/{id}, its export, and what it allows."""

import asyncio
import time
import uuid
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from features import erasure, stream
from features.events.occurrences import LONGEST_ID
from features.events.schema import ConsentGiven, encode
from service.customers import profile
from service.customers.access import refuse
from service.customers.erasing import erase
from service.customers.paths import read_id
from service.customers.schema import ConsentAnswer, ConsentRequest, ErasureReport, Profile
from service.customers.settling import settle
from service.decisions.identity import identify
from service.decisions.store import UnreachableError
from service.problems import PROBLEMS, respond

SECONDS = 5.0
SHARED: dict[str, Any] = {"tags": ["customers"], "status_code": 200}


LINES = "application/x-ndjson"


def _responses(shape: Any, description: str, media: str = "application/json") -> dict[int, ResponseSpec]:
    answers = {200: ResponseSpec(shape, description=description, media_type=media, generate_examples=False)}
    return answers | {status: PROBLEMS[status] for status in (400, 401, 403, 404, 503)}


def _away() -> Response[Any]:
    detail = "Redis or the worker does not answer; nothing is lost, try again"
    return respond("This cannot be done now", 503, detail, **{"Retry-After": "1"})


async def _find(state: State, customer: str) -> tuple[Any, list[str]] | None:
    """(live states, all ids) of whom an id stands for; None if nothing is known. Raises UnreachableError."""
    await settle(state.store, state.settings.partitions)
    found = await identify(state.store, [customer], SECONDS)
    home = state.settings.home
    ids = await asyncio.to_thread(erasure.find_ids, home, [*reversed(found.chain)])
    row = await asyncio.to_thread(state.store.load_customer, found.customer)
    if not row.applied and not await asyncio.to_thread(erasure.read_events, home, ids):
        return None
    return row, ids


async def _describe(request: Request[Any, Any, Any], state: State, customer: str) -> Profile | Response[Any]:
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    try:
        found = await _find(state, customer)
    except UnreachableError:
        return _away()
    if found is None:
        return respond("There is nothing here", 404, f"nothing is known of {customer!r}", "id")
    default = state.live.frame.compiled.document.consent
    return await asyncio.to_thread(profile.describe, state.settings.home, *found, default, time.time_ns() // 1000)


@get(
    "/v1/customers/{id:str}",
    summary="What is known of a customer",
    responses=_responses(Profile, "The customer."),
    **SHARED,
)
async def show(id: FromPath[str], request: Request[Any, Any, Any], state: State) -> Response[Any]:  # noqa: A002  # the path's word
    """Profile, features with their age, consent and the latest events, of all ids that are one customer."""
    found = await _describe(request, state, read_id(id))
    return found if isinstance(found, Response) else Response(found)


@get(
    "/v1/customers/{id:str}/export",
    summary="Everything held of a customer",
    responses=_responses(str, "JSON lines: the profile, then every event.", LINES),
    **SHARED,
)
async def export(id: FromPath[str], request: Request[Any, Any, Any], state: State) -> Response[Any]:  # noqa: A002  # as above
    """The profile and every event as it is kept, one JSON object a line."""
    found = await _describe(request, state, read_id(id))
    if isinstance(found, Response):
        return found
    lines = await asyncio.to_thread(profile.export, found, state.settings.home)
    return Response(b"\n".join(lines) + b"\n", media_type=LINES)


@delete(
    "/v1/customers/{id:str}",
    summary="Forget a customer",
    responses=_responses(ErasureReport, "What was cleaned."),
    **SHARED,
)
async def forget(id: FromPath[str], request: Request[Any, Any, Any], state: State) -> Response[Any]:  # noqa: A002  # as above
    """Erase all ids of the customer everywhere; it holds after a replay too. Answers with every place cleaned."""
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    try:
        await settle(state.store, state.settings.partitions)
        chain = (await identify(state.store, [read_id(id)], SECONDS)).chain
        ids = await asyncio.to_thread(erasure.find_ids, state.settings.home, [*reversed(chain)])
        return Response(await erase(state.store, state.settings, state.redis_url, ids))
    except UnreachableError:
        return _away()


@post(
    "/v1/customers/{id:str}/consent",
    summary="Say what a customer allows",
    responses=_responses(ConsentAnswer, "Taken."),
    **SHARED,
)
async def consent(
    id: FromPath[str],  # noqa: A002  # as above
    data: JSONBody[ConsentRequest],
    request: Request[Any, Any, Any],
    state: State,
) -> Response[Any]:
    """Tracking, personalisation and marketing, each for itself; kept as an event like any other."""
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    purposes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not None}
    if not purposes:
        return respond("The request is not valid", 400, "name one purpose at least", "tracking")
    customer = read_id(id)
    if len(customer) > LONGEST_ID:
        return respond("The request is not valid", 400, f"an id has at most {LONGEST_ID} characters", "id")
    now = time.time_ns() // 1000
    event = ConsentGiven(
        message_id=f"consent:{uuid.uuid4()}", customer=customer, time=now, received=now, purposes=purposes
    )
    place = stream.partition_of(customer, state.settings.partitions)
    try:
        message = stream.Message(event.message_id, encode(event), customer)
        [arrival] = await state.store.append(place, [message], SECONDS)
    except UnreachableError:
        return _away()
    return Response(ConsentAnswer(token=stream.token(place, arrival)))


handlers = [show, export, forget, consent]
