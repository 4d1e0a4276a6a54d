"""Events from web pages of any origin: anyone may send them, and the page's script must see that it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Response, route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

ANY = (b"access-control-allow-origin", b"*")
ALLOWED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Content-Encoding, X-Retry-Count",
    "Access-Control-Max-Age": "86400",
}


def allow_all(app: ASGIApp) -> ASGIApp:
    """Without this answer a browser keeps the result from the script, which then sends the same again and again."""

    async def allowing(scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], ANY]
            await send(message)

        await app(scope, receive, tell)

    return allowing


def preflight(paths: Sequence[str]) -> Any:
    """What a browser asks before it sends JSON or a header of authentication."""

    @route(list(paths), http_method="OPTIONS", status_code=204, include_in_schema=False)
    async def allow() -> Response[None]:
        return Response(None, headers=ALLOWED)

    return allow
