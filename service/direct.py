"""The short way of a plain decision request, past Litestar's handling, which costs a tenth of a whole decision.

It takes what is right and plain only. Everything else, and every refusal, goes the usual way with the body that was
read, so that errors have one origin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar.enums import ScopeType

from service.bodies import DEEPEST
from service.decisions.pipeline import decide
from service.decisions.request import InvalidError
from service.decisions.schema import DecisionRequest
from service.problems import MEDIA_TYPE, fault

if TYPE_CHECKING:
    from litestar.datastructures import State
    from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

PATH = "/v1/decisions"
PLAIN = {b"content-type": (b"application/json", b"application/json; charset=utf-8"), b"content-encoding": ()}
"""What these headers may say, where they are sent."""
_decoder = msgspec.json.Decoder(DecisionRequest)


def shorten(app: ASGIApp, state: State) -> ASGIApp:
    """The application, with the short way beside it."""

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_plain(scope):
            await app(scope, receive, send)
            return
        message: Any = await receive()
        asked = _read(message, state.settings.max_body_bytes)
        if asked is not None:
            try:
                body = await decide(state.live, state.store, state.settings, asked)
            except InvalidError:
                pass  # the usual way finds the same, and words it
            except Exception as error:
                problem = fault("POST", PATH, error)
                await _answer(send, msgspec.json.encode(problem), problem.status, MEDIA_TYPE)
                return
            else:
                await _answer(send, body)
                return
        await app(scope, _again(message, receive), send)

    return routed


def _is_plain(scope: Scope) -> bool:
    if scope["type"] != ScopeType.HTTP or scope["path"] != PATH or scope["method"] != "POST":
        return False
    return all(name not in PLAIN or value.lower() in PLAIN[name] for name, value in scope["headers"])


def _read(message: HTTPReceiveMessage, most: int) -> DecisionRequest | None:
    """None for what came in parts, is long, deep, or is not what a request should be."""
    if message["type"] != "http.request" or message.get("more_body"):
        return None
    body = message["body"]
    if len(body) > most or body.count(b"{") + body.count(b"[") > DEEPEST:
        return None
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _again(message: Any, receive: Receive) -> Receive:
    """The first message once more, then what follows it."""
    waiting = [message]

    async def received() -> Any:
        return waiting.pop() if waiting else await receive()

    return received


async def _answer(send: Send, body: bytes, status: int = 200, media_type: str = "application/json") -> None:
    headers = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
