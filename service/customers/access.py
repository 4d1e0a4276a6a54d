"""Who may see and change what is known of a customer: holders of an admin key; without any, this machine only."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Any

from service.problems import respond

if TYPE_CHECKING:
    from litestar import Request, Response

    from features.settings import Settings


def refuse(request: Request[Any, Any, Any], settings: Settings) -> Response[Any] | None:
    """The answer to who may not; None to who may."""
    if settings.admin_keys:
        scheme, _, key = request.headers.get("authorization", "").strip().partition(" ")
        known = [
            hmac.compare_digest(key.strip().encode("utf-8", "replace"), one.encode()) for one in settings.admin_keys
        ]
        if scheme.lower() == "bearer" and any(known):
            return None
        return respond(
            "The admin key is not known",
            401,
            "send one of KAIROS_ADMIN_KEYS as Bearer token",
            **{"WWW-Authenticate": 'Bearer realm="kairos"'},
        )
    host = "" if request.client is None else request.client.host
    try:
        local = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        local = False
    if local:
        return None
    return respond("This is not open to the network", 403, "set KAIROS_ADMIN_KEYS and send one of them as Bearer token")
