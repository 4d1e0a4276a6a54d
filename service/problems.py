"""Errors as application/problem+json (RFC 9457) that name the field."""

from __future__ import annotations

import logging
import re
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong, and where."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    field: str | None = None
    """The part of the request that is wrong."""


PROBLEMS: dict[int, ResponseSpec] = {
    status: ResponseSpec(Problem, description=description, media_type=MEDIA_TYPE, generate_examples=False)
    for status, description in (
        (400, "The request is wrong; `field` says where."),
        (404, "Something that the request names does not exist."),
        (409, "The id was used with another body."),
        (413, "The body is too large."),
        (503, "Redis does not answer; try again after `Retry-After` seconds."),
    )
}


def respond(title: str, status: int, detail: str, field: str | None = None, **headers: str) -> Response[Any]:
    problem = Problem(title=title, status=status, detail=detail, field=field)
    return Response(msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def on_http(_request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Litestar's own errors: unknown paths, wrong methods, bodies of the wrong shape."""
    detail, field = str(error.detail), None
    cause = error.__cause__ or error.__context__
    if isinstance(error, ValidationException):
        if isinstance(error.extra, list) and error.extra and isinstance(error.extra[0], dict):
            first = error.extra[0]
            detail, field = str(first.get("message", detail)), str(first.get("key", "")) or None
        if isinstance(cause, msgspec.ValidationError):
            detail, field = split_message(str(cause))
        field = field.removeprefix("data.") if field else None
        return respond("The request is not valid", 400, detail, field)
    if isinstance(cause, (msgspec.DecodeError, SerializationException)):
        detail = str(cause)
    title = {400: "The request is not valid", 404: "There is nothing here", 413: "The body is too large"}
    return respond(title.get(error.status_code, detail), error.status_code, detail, field)


def split_message(message: str) -> tuple[str, str | None]:
    """(what is wrong, the field) of a msgspec message like "Expected `int`, got `str` - at `$.a[0].b`"."""
    match = re.search(r" - at `(?:key in )?\$\.?([^`]*)`$", message)
    if match is None:
        missing = re.search(r"missing required field `([^`]*)`", message)
        unknown = re.search(r"unknown field `([^`]*)`", message)
        found = missing or unknown
        return message, found[1] if found else None
    inner = re.search(r"field `([^`]*)`", message)
    path = match[1]
    if inner and ("missing required" in message or "unknown field" in message):
        path = f"{path}.{inner[1]}" if path else inner[1]
    return message[: match.start()], path or None


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What is our fault: logged whole, told without innards."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return respond("Something went wrong here", 500, "the service logged what; please report it")
