"""Connections to Redis for what is written under a lease: at once or not at all."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

ONCE = Retry(NoBackoff(), 0)
"""A client's own default is to try again for up to fourteen seconds: long after a lease has run out."""


def connect(redis_url: str) -> Redis:
    return Redis.from_url(redis_url, socket_timeout=30, socket_connect_timeout=2, retry=ONCE)
