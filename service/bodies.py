"""Request bodies: inflated within bounds, and read as JSON with what real clients get wrong put right.

NaN and Infinity (Python's json writes them) become null, half an emoji and broken UTF-8 become U+FFFD. Refused are
bodies that are too large, encoded otherwise than with gzip, nested too deep, or no JSON.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import Empty

from service.nesting import is_deeper

DEEPEST = 100
"""Levels of objects and lists in a body; whoever reads it later has a stack too."""
LONGEST_INTEGER = 300
"""Digits; a longer number becomes null, as an infinite one does."""
MOST_MEMBERS = 8
"""Of a gzipped body; clients send one."""
_HALVES = re.compile("[\ud800-\udfff]")


class BodyRequest(Request[Any, Any, Any]):
    """A request whose `body` is inflated and whose `json` is read as above."""

    async def body(self) -> bytes:
        if self._body is Empty and self._connection_state.body is Empty:
            raw = await super().body()
            encoding = self.headers.get("content-encoding", "").strip().lower()
            if encoding in ("gzip", "x-gzip"):
                most = self.route_handler.resolve_request_max_body_size()
                self._body = self._connection_state.body = inflate(raw, most or len(raw))
            elif encoding not in ("", "identity"):
                raise HTTPException(status_code=415, detail=f"send the body as it is or with gzip, not {encoding[:40]}")
        return await super().body()

    async def json(self) -> Any:
        if self._json is Empty and self._connection_state.json is Empty:
            self._json = self._connection_state.json = read(await self.body())
        return await super().json()


def inflate(raw: bytes, most: int) -> bytes:
    """A gzipped body. No more than `most` bytes of it are ever made. Raises ClientException, RequestEntityTooLarge."""
    parts: list[bytes] = []
    left = most + 1
    try:
        for _ in range(MOST_MEMBERS):
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            parts.append(member.decompress(raw, left))
            left -= len(parts[-1])
            if left <= 0:
                raise RequestEntityTooLarge
            if not member.eof:
                raise ClientException(detail="the gzipped body ends too early")
            raw = member.unused_data.lstrip(b"\0")
            if not raw:
                return b"".join(parts)
    except zlib.error as error:
        raise ClientException(detail=f"the body is not gzip: {error}") from error
    raise ClientException(detail=f"a gzipped body has at most {MOST_MEMBERS} members")


def read(body: bytes) -> Any:
    """The document of a JSON body. Raises ClientException."""
    try:
        document = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        document = _read_tolerantly(body, error)
    if body.count(b"{") + body.count(b"[") > DEEPEST and is_deeper(document, DEEPEST):
        raise _too_deep()
    return document


def _read_tolerantly(body: bytes, error: Exception) -> Any:
    """Slower, and only for what the strict reader has refused."""
    try:
        text = body.decode("utf-8-sig", errors="replace")
        document = json.loads(text, parse_constant=lambda _: None, parse_float=_float, parse_int=_integer)
    except ValueError:
        raise ClientException(detail=f"a JSON body is required: {error}") from error
    except RecursionError:
        raise _too_deep() from None
    if is_deeper(document, DEEPEST):
        raise _too_deep()
    return _whole(document)


def _float(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _integer(text: str) -> int | None:
    return int(text) if len(text) <= LONGEST_INTEGER else None


def _whole(value: Any) -> Any:
    """The same with U+FFFD in the place of half characters, which no encoder would write."""
    if isinstance(value, str):
        return _HALVES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(inner) for name, inner in value.items()}
    return value


def _too_deep() -> ClientException:
    return ClientException(detail=f"objects and lists stand in each other more than {DEEPEST} deep")
