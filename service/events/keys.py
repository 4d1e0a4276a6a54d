"""Write keys: who may send events. A key comes as user name of Basic, as Bearer token, or as `writeKey` in the body."""

from __future__ import annotations

import base64
import contextlib
import hmac
import ipaddress
from typing import TYPE_CHECKING, Any

from service.problems import respond

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litestar import Response

WARNING = (
    "KAIROS_WRITE_KEYS is not set and the API listens on {host}: whoever reaches it may send events. "
    "Set the keys, or listen on 127.0.0.1"
)


def is_known(known: Sequence[str], authorization: str, in_body: Any) -> bool:
    """Whether one of the keys that a request brings is one of the `known`; without any known, all are."""
    if not known:
        return True
    brought = [key.encode("utf-8", "replace") for key in _brought(authorization, in_body)]
    return any(hmac.compare_digest(key, mine.encode()) for key in brought for mine in known)


def refuse() -> Response[Any]:
    detail = "send a write key: as user name of Basic authentication, as Bearer token, or as writeKey in the body"
    # Bearer and not Basic: to that, a browser would ask the visitor for a password.
    return respond("The write key is not known", 401, detail, **{"WWW-Authenticate": 'Bearer realm="kairos"'})


def warn(known: Sequence[str], host: str) -> dict[str, str]:
    """What is to be said, by part, when anybody may send events from elsewhere."""
    try:
        loopback = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        loopback = False
    return {} if known or loopback else {"write_keys": WARNING.format(host=host)}


def _brought(authorization: str, in_body: Any) -> Iterator[str]:
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip()
    elif scheme.lower() == "basic":
        with contextlib.suppress(ValueError):  # no base64, or no text
            yield base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[0]
    if isinstance(in_body, str):
        yield in_body
