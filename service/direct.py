"""The short way of plain requests that come often, past Litestar's handling: that costs a tenth of a whole decision,
and half of an event.

It takes what is right and plain only. Everything else, and every refusal, goes the usual way with the body that was
read, so that errors have one origin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.datastructures import State
from litestar.enums import ScopeType

from service.bodies import DEEPEST
from service.problems import MEDIA_TYPE, fault

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

PLAIN = {b"content-type": (b"application/json", b"application/json; charset=utf-8"), b"content-encoding": ()}
"""What these headers may say, where they are sent."""


class Short(msgspec.Struct, frozen=True):
    """An answer, ready to be sent."""

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Way = Callable[[State, dict[bytes, bytes], bytes], Awaitable[Short | None]]
"""Answers a body, given its headers; None for what shall go the usual way, of which nothing was done."""


def shorten(app: ASGIApp, state: State, ways: dict[str, Way]) -> ASGIApp:
    """The application, with the short ways of some paths beside it; they take POST."""

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        way = ways.get(scope["path"]) if scope["type"] == ScopeType.HTTP and scope["method"] == "POST" else None
        headers = dict(scope["headers"]) if way else {}
        if way is None or not _are_plain(headers):
            await app(scope, receive, send)
            return
        message: Any = await receive()
        body = _whole(message, state.settings.max_body_bytes)
        try:
            short = None if body is None else await way(state, headers, body)
        except Exception as error:
            problem = fault("POST", scope["path"], error)
            short = Short(msgspec.json.encode(problem), problem.status, MEDIA_TYPE)
        if short is None:
            await app(scope, _again(message, receive), send)
        else:
            await _answer(send, short)

    return routed


def _are_plain(headers: dict[bytes, bytes]) -> bool:
    return all(headers[name].lower() in good for name, good in PLAIN.items() if name in headers)


def _whole(message: HTTPReceiveMessage, most: int) -> bytes | None:
    """None for what came in parts, is long, or may be deep."""
    if message["type"] != "http.request" or message.get("more_body"):
        return None
    body = message["body"]
    return None if len(body) > most or body.count(b"{") + body.count(b"[") > DEEPEST else body


def _again(message: Any, receive: Receive) -> Receive:
    """The first message once more, then what follows it."""
    waiting = [message]

    async def received() -> Any:
        return waiting.pop() if waiting else await receive()

    return received


async def _answer(send: Send, short: Short) -> None:
    length = (b"content-length", b"%d" % len(short.body))
    headers = [(b"content-type", short.media_type.encode()), length, *short.headers]
    await send({"type": "http.response.start", "status": short.status, "headers": headers})
    await send({"type": "http.response.body", "body": short.body, "more_body": False})
