"""Ids in paths: one may hold a slash, sent as %2F, which a server takes apart before any route sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

ROOTS = (b"/v1/customers/", b"/v1/decisions/", b"/personalizer/v1.0/events/", b"/ofrep/v1/evaluate/flags/")
"""Where the next part of a path is an id."""
MARK = "\udc2f"
"""Stands for a slash within an id. Half a character: no path that was sent as UTF-8 can hold it."""


def keep_slashes(app: ASGIApp) -> ASGIApp:
    """The application behind paths whose ids are whole: `read_id` gives them as they were sent."""

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path", b"")
        if b"%2f" in raw.lower() and raw.startswith(ROOTS):
            parts = [unquote(part).replace("/", MARK) for part in raw.decode("ascii").split("/")]
            scope["path"] = "/".join(parts)
        await app(scope, receive, send)

    return routed


def read_id(part: str) -> str:
    """The id that a part of a path stands for."""
    return part.replace(MARK, "/")
