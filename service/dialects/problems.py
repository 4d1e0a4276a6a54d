"""Errors in the shape that clients of the other service read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec

from service.decisions.request import InvalidError
from service.decisions.store import UnreachableError
from service.dialects.schema import MetarankError, PersonalizerError, PersonalizerFault
from service.problems import split_message

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

AWAY = "Redis does not answer; send the same once more"
CODES = {404: "ResourceNotFound", 500: "InternalServerError", 503: "InternalServerError"}
Answer = Response[Any]


def refuse_personalizer(status: int, message: str, target: str | None = None) -> Answer:
    fault = PersonalizerFault(code=CODES.get(status, "BadRequest"), message=message, target=target or None)
    return _json(PersonalizerError(error=fault), status)


def refuse_metarank(status: int, message: str, target: str | None = None) -> Answer:
    """metarank itself answers with a status and no body; the message says what its log would."""
    return _json(MetarankError(status="error", message=f"{target}: {message}" if target else message), status)


def handlers(refuse: Callable[[int, str, str | None], Answer]) -> dict[Any, Any]:
    """For routes: what is raised there, in one dialect."""

    def on_http(_request: Request[Any, Any, Any], error: HTTPException) -> Answer:
        if isinstance(error.__cause__, msgspec.ValidationError):
            return refuse(400, *split_message(str(error.__cause__)))
        return refuse(error.status_code, error.detail, None)

    def on_invalid(_request: Request[Any, Any, Any], error: InvalidError) -> Answer:
        return refuse(error.status, str(error), error.field)

    def on_away(_request: Request[Any, Any, Any], _error: UnreachableError) -> Answer:
        answer = refuse(503, AWAY, None)
        answer.headers["Retry-After"] = "1"
        return answer

    def on_error(request: Request[Any, Any, Any], error: Exception) -> Answer:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return refuse(500, "something went wrong here; the service logged what", None)

    return {HTTPException: on_http, InvalidError: on_invalid, UnreachableError: on_away, Exception: on_error}


def responses(answer: Any, shape: Any, status: int = 200) -> dict[int, ResponseSpec]:
    """For the API's description."""
    spec = {} if answer is None else {status: ResponseSpec(answer, description="The answer.", generate_examples=False)}
    described = (
        (400, "The request is wrong."),
        (401, "The key is missing or not known."),
        (404, "Something that the request names does not exist."),
        (409, "The id was used with another body."),
        (503, "Redis does not answer."),
    )
    return spec | {code: ResponseSpec(shape, description=text, generate_examples=False) for code, text in described}


def _json(body: Any, status: int) -> Answer:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
