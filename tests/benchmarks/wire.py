"""HTTP/1.1 as the load generator speaks it: requests encoded beforehand, answers split with little work.

Only loopback, only answers with a Content-Length: a load generator must not be pointed at somebody's site.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def address(url: str) -> tuple[str, int]:
    """Host and port of `http://host:port`; ValueError for anything that is not plain HTTP on loopback."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK or parts.port is None:
        raise ValueError(f"{url!r}: the load generator only calls http://127.0.0.1:<port>")
    return parts.hostname, parts.port


def encode(path: str, body: str | None) -> bytes:
    """A POST with a JSON body, or a GET when `body` is None, for a connection that stays open."""
    if body is None:
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    content = body.encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


def split(received: bytes) -> tuple[int, bytes] | None:
    """Status and body of a whole answer, None while bytes are missing. ValueError without a Content-Length."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end].lower()
    mark = head.find(b"\r\ncontent-length:")
    if mark < 0:
        raise ValueError(f"an answer without Content-Length: {head[:200]!r}")
    stop = head.find(b"\r\n", mark + 2)
    length = int(head[mark + 17 : stop if stop > 0 else None])
    if len(received) < end + 4 + length:
        return None
    return int(head[9:12]), received[end + 4 : end + 4 + length]
