"""GET /v1/experiments/{id}/report."""

import asyncio
import os
import sys
import time
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from features import refusal, tether
from service.customers.access import refuse
from service.decisions.request import InvalidError
from service.experiments.reports.child import UNKNOWN
from service.experiments.reports.schema import Report
from service.experiments.reports.trials import UnknownTrialError, find
from service.problems import PROBLEMS, respond

FRESH_SECONDS = 10.0
"""For so long a report is answered again; the archive is as far behind anyway."""
MOST_SECONDS = 600.0
"""For one answer; what has been read by then is kept."""
Asked = Request[Any, Any, Any]
Made = tuple[float, str, bytes]
"""When, of which catalog, and the report."""


@get(
    "/v1/experiments/{id:str}/report",
    summary="What is known of an experiment",
    tags=["experiments"],
    responses={200: ResponseSpec(Report, description="The report.", generate_examples=False)}
    | {status: PROBLEMS[status] for status in (401, 403, 404, 503)},
)
async def report(id: FromPath[str], request: Asked, state: State) -> Response[Any]:  # noqa: A002  # the path's word
    """Units, metrics with intervals, mismatch, segments, courses, and a verdict in words with what it assumes.

    It is made in a process of its own from what the archive has got since the last one. `holdout` is the global one.
    """
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    compiled = state.live.frame.compiled
    try:
        find(compiled.document, id)
    except UnknownTrialError as error:
        raise InvalidError("id", str(error), 404) from error
    locks: dict[str, asyncio.Lock] = state.setdefault("report_locks", {})
    made: dict[str, Made] = state.setdefault("reports", {})
    async with locks.setdefault(id, asyncio.Lock()):
        kept = made.get(id)
        if kept is None or kept[1] != compiled.version or kept[0] < time.monotonic() - FRESH_SECONDS:
            code, told, said = await _make(state, id)
            if code:
                return _refuse(code, said)
            kept = made[id] = time.monotonic(), compiled.version, told
    return Response(kept[2], media_type=MediaType.JSON)


async def _make(state: State, name: str) -> tuple[int, bytes, str]:
    """(exit code, report, what went wrong) of a process that ends with this one."""
    environment = os.environ | {"KAIROS_HOME": str(state.settings.home.root)}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    program = tether.command([sys.executable, "-m", "service.experiments.reports.child", name])
    process = await asyncio.create_subprocess_exec(
        *program, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(MOST_SECONDS):
            told, said = await process.communicate()
    except TimeoutError:
        return (
            refusal.REFUSED,
            b"",
            "there is much to read of the archive: ask again, it goes on from where it is",
        )
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, told, said.decode(errors="replace")


def _refuse(code: int, said: str) -> Response[Any]:
    if code == UNKNOWN:
        raise InvalidError("id", said, 404)
    if code != refusal.REFUSED:
        raise RuntimeError(f"the report broke: {said}")
    return respond("There is no report at the moment", 503, said, **{"Retry-After": "10"})


routes = [report]
