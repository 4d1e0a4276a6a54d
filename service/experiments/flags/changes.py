"""OFREP's stream, which tells when to ask for flags again, and waiting for what it has told."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.response import ServerSentEvent, ServerSentEventMessage

from service.events.origins import allow_all
from service.experiments.flags.evaluation import version_at
from service.live import Live

STREAM = "/ofrep/v1/stream"
PATIENCE = 1.0
"""Seconds after which a stream looks whether the service ends; so long at most a process waits for what another one of
the service has told of already.
"""
ALIVE = 15.0
"""Seconds after which a stream says that it is there."""


async def catch_up(live: Live, version: str | None) -> None:
    """Wait a moment for the flags of that version, if these are others; a version may also be over already."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while version and version != version_at(live.frame.compiled, time.time_ns() // 1000):
                await live.swapped.wait()


@get(STREAM, media_type="text/event-stream", middleware=[allow_all], include_in_schema=False)
async def changes(request: Request[Any, Any, Any], state: State) -> ServerSentEvent:
    """Server-sent events: `refetchEvaluation` whenever flags may have other values than before.

    Before: than in the bulk answer that named this stream, or than when it broke off.
    """
    known = request.headers.get("last-event-id") or request.query_params.get("version")
    return ServerSentEvent(_tell_changes(state, known))


async def _tell_changes(state: State, known: str | None) -> AsyncIterator[ServerSentEventMessage]:
    live = state.live
    said = known or version_at(live.frame.compiled, time.time_ns() // 1000)
    quiet = time.monotonic()
    yield ServerSentEventMessage(data=None, id=None if known else said, comment="flags")
    while not state.is_ending():
        swapped = live.swapped
        version = version_at(live.frame.compiled, time.time_ns() // 1000)
        if version != said:
            said, quiet = version, time.monotonic()
            notice = {"type": "refetchEvaluation", "etag": version, "lastModified": int(time.time())}
            yield ServerSentEventMessage(data=msgspec.json.encode(notice).decode(), id=version)
        elif time.monotonic() - quiet > ALIVE:
            quiet = time.monotonic()
            yield ServerSentEventMessage(data=None, comment="alive")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(swapped.wait(), PATIENCE)
