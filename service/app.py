"""The API process: routes, what they share, and its start and end."""

import asyncio
import contextlib
import gc
import importlib.metadata
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvicorn
from litestar import Litestar, Response, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin

from features.settings import Settings
from service import canary, metrics
from service.audiences import api as audiences_api
from service.bodies import BodyRequest
from service.catalog import api as catalog_api
from service.customers import api as customers_api
from service.customers.paths import keep_slashes
from service.decisions import api as decisions_api
from service.decisions import log as decision_log
from service.decisions.request import InvalidError
from service.decisions.store import DecisionStore
from service.decisions.warming import warm_up
from service.describing import StrictShapes
from service.dialects import api as dialects_api
from service.direct import shorten
from service.events import api as events_api
from service.events import keys
from service.events.letters import Letters
from service.experiments.flags import api as flags_api
from service.experiments.flags import ofrep
from service.experiments.reports import api as reports_api
from service.live import Live
from service.problems import on_error, on_http, respond

log = logging.getLogger(__name__)

FOLLOW_SECONDS = 0.5
SPILL_SECONDS = 1.0
SWITCH_SECONDS = 0.0005
"""How long a thread that takes up a snapshot may keep a request waiting for the interpreter: a tenth of the usual."""
COLLECT_AFTER = (20_000, 20, 20)
"""A request makes a few hundred objects and hardly a cycle: looking for those at Python's pace costs every request."""


@get("/health", tags=["operation"], summary="Is the process alive")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@get("/ready", tags=["operation"], summary="Is it ready for requests")
async def ready(state: State) -> dict[str, Any]:
    """What this process works with, and what is refused or missing at the moment; answered after warm-up decisions."""
    live: Live = state.live
    return {
        "ready": True,
        "process": os.getpid(),
        "catalog_version": live.frame.compiled.version,
        "snapshot": None if live.frame.head is None else live.frame.head.number,
        "models": {alias: bundle.label for alias, bundle in live.models.items() if "@" not in alias},
        "problems": live.problems | state.warnings,
    }


@get("/metrics", tags=["operation"], summary="Prometheus metrics", media_type="text/plain; version=0.0.4")
async def metrics_text(state: State) -> bytes:
    return metrics.render(state.settings.home)


def on_invalid(_request: Any, error: InvalidError) -> Response[Any]:
    return respond("The request is not valid", error.status, str(error), error.field)


async def _repeat(work: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Do `work` with pauses until cancelled; what it raises is logged, and does not end it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            log.exception("%s failed, and is tried again", getattr(work, "__qualname__", work))


def create(settings: Settings, redis_url: str, host: str = "127.0.0.1") -> Litestar:
    """The application, to be reached at `host`. Raises DocumentError when the catalog is broken."""
    store = DecisionStore(settings, redis_url)
    live = Live(settings, redis_url, warm_up)
    bird = canary.Canary(settings, redis_url, store)
    letters = Letters(redis_url, settings.dead_letters)
    warnings = keys.warn(settings.write_keys, host)

    @contextlib.asynccontextmanager
    async def running(_app: Litestar) -> AsyncIterator[None]:
        await live.refresh()
        await asyncio.to_thread(warm_up, live.frame, None)  # the server takes requests when this has ended
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        tasks = [
            asyncio.create_task(store.lag.follow()),
            asyncio.create_task(_repeat(live.refresh_frame, FOLLOW_SECONDS)),
            asyncio.create_task(_repeat(live.refresh_models, FOLLOW_SECONDS)),
            asyncio.create_task(_repeat(store.append_spilled, SPILL_SECONDS)),
            asyncio.create_task(_repeat(bird.measure, canary.SECONDS)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await bird.close()
            await live.close()
            await store.close()
            await letters.close()

    return Litestar(
        route_handlers=[
            decisions_api.decisions,
            *decision_log.handlers,
            *events_api.handlers,
            *customers_api.handlers,
            *catalog_api.handlers,
            *dialects_api.handlers,
            *audiences_api.handlers,
            *flags_api.handlers,
            *ofrep.handlers,
            *reports_api.routes,
            health,
            ready,
            metrics_text,
        ],
        state=State(
            {
                "settings": settings,
                "store": store,
                "live": live,
                "letters": letters,
                "redis_url": redis_url,
                "warnings": warnings,
                "is_ending": lambda: False,
            }
        ),
        request_class=BodyRequest,
        plugins=[StrictShapes()],
        lifespan=[running],
        exception_handlers={HTTPException: on_http, InvalidError: on_invalid, Exception: on_error},
        request_max_body_size=settings.max_body_bytes,
        openapi_config=OpenAPIConfig(
            title="Kairos",
            version=importlib.metadata.version("kairos"),
            description="Decides per page view what to show this visitor.",
            path="/schema",
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
        ),
        logging_config=None,
    )


def run(settings: Settings, redis_url: str, listener: socket.socket, index: int) -> None:
    """Serve on a listening socket until SIGTERM; requests in flight are answered first."""
    sys.setswitchinterval(SWITCH_SECONDS)
    app = create(settings, redis_url, listener.getsockname()[0])
    for warning in app.state.warnings.values() if index == 0 else ():
        log.warning(warning)
    config = uvicorn.Config(
        keep_slashes(shorten(app, app.state, decisions_api.ways | events_api.ways)),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=5,
        server_header=False,
        date_header=False,
    )
    server = uvicorn.Server(config)
    app.state.is_ending = lambda: server.should_exit  # streams end by themselves then
    server.run(sockets=[listener])
