"""A process that dies on its way to Redis, and the one that takes its place."""

from __future__ import annotations

import socket
import sys
from typing import Any
from urllib.parse import urlsplit

import redis

from tests.features.deployment import Deployment


class Crash(BaseException):
    """The process ends here."""


class Plan:
    """After how many requests the process ends, and how much of the last one still goes out."""

    def __init__(self) -> None:
        self.left = sys.maxsize
        self.share = 0.0


class CrashingConnection(redis.Connection):
    """A connection on which the process dies by plan, having sent nothing, a part or all of its last request."""

    def __init__(self, *, plan: Plan, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        self._plan = plan

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self._plan.left -= 1
        if self._plan.left >= 0:
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]  # as above
            return
        request = command if isinstance(command, bytes) else b"".join(command)
        if (connected := self._sock) is not None:
            connected.sendall(request[: round(len(request) * self._plan.share)])
            connected.shutdown(socket.SHUT_WR)
            while connected.recv(1 << 16):  # until Redis has done what it got
                pass
        raise Crash


def put_on(deployment: Deployment, plan: Plan) -> None:
    """Let the deployment speak to Redis by connections that follow the plan."""
    parts = urlsplit(deployment.url)
    pool = redis.ConnectionPool(
        connection_class=CrashingConnection, plan=plan, host=parts.hostname, port=parts.port, password=parts.password
    )
    deployment.redis = redis.Redis(connection_pool=pool)
    deployment.store._store._client = redis.Redis(connection_pool=pool)
    deployment.open()


def restart(deployment: Deployment) -> Deployment:
    """Another process in the place of one that died."""
    deployment.close()
    fresh = Deployment(deployment.home, deployment.url)
    fresh.taken = deployment.taken
    fresh.observe()
    return fresh
