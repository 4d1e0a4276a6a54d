"""Errors as application/problem+json (RFC 9457) that name the field."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec

if TYPE_CHECKING:
    from litestar.exceptions import HTTPException

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "The request is not valid",
    404: "There is nothing here",
    413: "The body is too large",
    415: "The body cannot be read",
}


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
        (401, "The write key is missing or not known."),
        (403, "Not open to the network without a key."),
        (404, "Something that the request names does not exist."),
        (409, "The id was used with another body."),
        (413, "The body is too large."),
        (415, "The body is encoded otherwise than with gzip."),
        (503, "Redis does not answer; try again after `Retry-After` seconds."),
    )
}


def respond(title: str, status: int, detail: str, field: str | None = None, **headers: str) -> Response[Any]:
    problem = Problem(title=title, status=status, detail=detail, field=field)
    return Response(msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def on_http(_request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Litestar's own errors: unknown paths, wrong methods, bodies that are no JSON or of the wrong shape."""
    if isinstance(error.__cause__, msgspec.ValidationError):
        detail, field = split_message(str(error.__cause__))
        return respond(TITLES[400], 400, detail, field)
    return respond(TITLES.get(error.status_code, error.detail), error.status_code, error.detail)


def split_message(message: str) -> tuple[str, str | None]:
    """(what is wrong, the field) of a message of msgspec, to which the body is the field `data` of something larger.

    >>> split_message("Expected `int`, got `str` - at `$.data.placements[0].limit`")
    ('Expected `int`, got `str`', 'placements[0].limit')
    >>> split_message("Object missing required field `id` - at `$.data.placements[0]`")
    ('Object missing required field `id`', 'placements[0].id')
    """
    place = re.search(r" - at `(?:key in )?\$\.data\.?([^`]*)`$", message)
    if place is None:
        return "a JSON body is required", None
    named = re.search(r"(?:missing required|unknown) field `([^`]*)`", message)
    path = ".".join(part for part in (place[1], named[1] if named else "") if part)
    return message[: place.start()], path or None


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    problem = fault(request.method, request.url.path, error)
    return respond(problem.title, problem.status, problem.detail)


def fault(method: str, path: str, error: Exception) -> Problem:
    """What is our fault: logged whole, told without innards."""
    log.error("%s %s failed", method, path, exc_info=error)
    return Problem(title="Something went wrong here", status=500, detail="the service logged what; please report it")
