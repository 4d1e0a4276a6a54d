"""A Redis URL as Feast wants it; apart from Feast itself, which takes seconds to import."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, unquote, urlsplit

from features.occupancy import UnavailableError


def connection_string(redis_url: str) -> str:
    """Feast's form (`host:port,password=...,db=...`) of a redis:// or rediss:// URL; UnavailableError for others."""
    url = urlsplit(redis_url)
    if url.scheme not in ("redis", "rediss") or ":" in (url.hostname or ""):
        raise UnavailableError("Feast reaches Redis by name or IPv4 address only: use redis://host:port or rediss://")
    parts = [f"{url.hostname or '127.0.0.1'}:{url.port or 6379}"]
    if url.scheme == "rediss":
        parts.append("ssl=true")
    if url.username:
        parts.append(f"username={_quote(url.username)}")
    if url.password:
        parts.append(f"password={_quote(url.password)}")
    if database := url.path.lstrip("/"):
        parts.append(f"db={database}")
    parts += [f"{name}={value}" for name, value in parse_qsl(url.query)]
    return ",".join(parts)


def _quote(text: str) -> str:
    """Feast splits at commas and reads values as JSON if it can: a password of digits would become a number."""
    return json.dumps(unquote(text)).replace(",", "\\u002c")
