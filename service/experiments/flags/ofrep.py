"""The OpenFeature Remote Evaluation Protocol 0.3: one flag, or all flags."""

import dataclasses
import hashlib
import time
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, post, route
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import FromPath

from service.bodies import read
from service.catalog.compiled import Compiled
from service.customers.paths import read_id
from service.events.keys import is_known
from service.events.origins import ALLOWED, allow_all
from service.experiments.flags.asking import Ids, ask
from service.experiments.flags.changes import STREAM, catch_up, changes
from service.experiments.flags.evaluation import Asking, Evaluated, evaluate, version_at
from service.experiments.flags.schema import (
    BulkEvaluation,
    Code,
    Endpoint,
    EvaluationFailure,
    EvaluationRequest,
    EventStream,
)

FLAGS = "/ofrep/v1/evaluate/flags"
KEY, ANONYMOUS = "targetingKey", "anonymousId"
LONGEST_ID = 256


class RefusedError(Exception):
    """An evaluation that cannot be done."""

    def __init__(self, code: Code, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


@dataclasses.dataclass
class _Evaluating(Operation):
    """The operation with its body, whose faults have codes of the protocol."""

    def __post_init__(self) -> None:
        text, anything = Schema(type=OpenAPIType.STRING), Schema(type=OpenAPIType.OBJECT)
        context = Schema(
            type=OpenAPIType.OBJECT,
            description="`targetingKey` is the customer, or the visitor; `anonymousId` the visitor beside a customer.",
            properties={KEY: text, ANONYMOUS: text, "traits": anything},
            required=[KEY],
        )
        shape = Schema(type=OpenAPIType.OBJECT, properties={"context": context}, required=["context"])
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=shape)}, required=True)


def _failures(*statuses: int) -> dict[int, ResponseSpec]:
    told = {400: "The request is not valid.", 404: "There is no such flag."}
    return {
        status: ResponseSpec(EvaluationFailure, description=told[status], generate_examples=False)
        for status in statuses
    } | {401: ResponseSpec(None, description="The key is missing or not known.")}


@post(
    FLAGS + "/{key:str}",
    tags=["flags"],
    summary="Evaluate a flag (OFREP)",
    status_code=200,
    operation_class=_Evaluating,
    middleware=[allow_all],
    responses={200: ResponseSpec(Evaluated, generate_examples=False)} | _failures(400, 404),
)
async def single(key: FromPath[str], request: Request[Any, Any, Any], state: State) -> Response[Any]:
    """The value of one flag for `context.targetingKey`. Evaluating enrols nobody; `Experiment Viewed` events do."""
    name = read_id(key)
    if not _is_allowed(request, state):
        return Response(None, status_code=401)
    compiled = state.live.frame.compiled
    if name not in compiled.flags:
        return _fail(404, "FLAG_NOT_FOUND", f"there is no flag {name!r}", name)
    try:
        asking = await _ask(request, state, compiled)
    except RefusedError as error:
        return _fail(400, error.code, error.details, name)
    return Response(msgspec.json.encode(evaluate(compiled, [name], asking)[0]), media_type=MediaType.JSON)


@post(
    FLAGS,
    tags=["flags"],
    summary="Evaluate all flags (OFREP)",
    status_code=200,
    operation_class=_Evaluating,
    middleware=[allow_all],
    responses={
        200: ResponseSpec(BulkEvaluation, generate_examples=False),
        304: ResponseSpec(None, description="Still what If-None-Match names."),
    }
    | _failures(400),
)
async def bulk(request: Request[Any, Any, Any], state: State) -> Response[Any]:
    """The values of all flags for `context.targetingKey`; the ETag stands for all of them together.

    `flagConfigEtag` is what the stream told last: this process may be the last to take it up.
    """
    if not _is_allowed(request, state):
        return Response(None, status_code=401)
    await catch_up(state.live, request.query_params.get("flagConfigEtag"))
    compiled = state.live.frame.compiled
    version = version_at(compiled, time.time_ns() // 1000)
    try:
        asking = await _ask(request, state, compiled)
    except RefusedError as error:
        return _fail(400, error.code, error.details)
    answer = BulkEvaluation(
        flags=evaluate(compiled, compiled.flags, asking),
        metadata={"version": version},
        event_streams=[EventStream(endpoint=Endpoint(request_uri=f"{STREAM}?version={version}"))],
    )
    body = msgspec.json.encode(answer)
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Access-Control-Expose-Headers": "ETag"}
    if tag in known:
        return Response(b"", status_code=304, headers=headers)
    return Response(body, media_type=MediaType.JSON, headers=headers)


async def _ask(request: Request[Any, Any, Any], state: State, compiled: Compiled) -> Asking:
    """Raises RefusedError."""
    try:
        asked = msgspec.convert(read(await request.body()), EvaluationRequest)
    except msgspec.ValidationError as error:
        raise RefusedError("INVALID_CONTEXT", f"an object with a `context` is expected: {error}") from error
    except Exception as error:  # whatever keeps the body from being JSON
        raise RefusedError("PARSE_ERROR", "a JSON body is required") from error
    key: Any = asked.context.get(KEY)
    if key is None or key == "":
        raise RefusedError("TARGETING_KEY_MISSING", f"`context.{KEY}` is required: the customer or the visitor")
    anonymous: Any = asked.context.get(ANONYMOUS) or key
    if not all(isinstance(one, str) and len(one) <= LONGEST_ID for one in (key, anonymous)):
        raise RefusedError("INVALID_CONTEXT", f"`{KEY}` and `{ANONYMOUS}` are texts of at most {LONGEST_ID} characters")
    return await ask(state.store, compiled, Ids(key, anonymous), asked.context, state.settings.deadline_ms / 1e3)


def _is_allowed(request: Request[Any, Any, Any], state: State) -> bool:
    brought = request.headers.get("authorization", "")
    return is_known(state.settings.write_keys, brought, request.headers.get("x-api-key"))


def _fail(status: int, code: Code, details: str, key: str = "") -> Response[Any]:
    failure = EvaluationFailure(key=key, error_code=code, error_details=details)
    return Response(msgspec.json.encode(failure), status_code=status, media_type=MediaType.JSON)


@route([FLAGS, FLAGS + "/{key:str}"], http_method="OPTIONS", status_code=204, include_in_schema=False)
async def allow() -> Response[None]:
    """What a browser asks before a page of another origin may evaluate."""
    names = "Authorization, Content-Type, If-None-Match, X-API-Key"
    return Response(None, headers=ALLOWED | {"Access-Control-Allow-Headers": names})


handlers: list[Any] = [allow, single, bulk, changes]
