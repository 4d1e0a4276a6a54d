"""POST /v1/audiences, GET /v1/audiences/{id} and its file."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.response import File

from features import tether
from features.occupancy import is_alive
from service.audiences.files import FOLDER, AudienceError
from service.audiences.planning import plan
from service.audiences.running import begin, parse_time, save
from service.audiences.schema import Audience, AudienceRequest
from service.customers.access import refuse
from service.decisions.request import InvalidError
from service.problems import PROBLEMS, respond

KEPT_SECONDS = 7 * 86_400
"""How long the files of an audience stay: they name customers."""
NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MEDIA = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv"}
Asked = Request[Any, Any, Any]
PROBLEMS_HERE = {status: PROBLEMS[status] for status in (400, 401, 403, 404)}
TOLD: dict[str, Any] = {"tags": ["audiences"]}


@post(
    "/v1/audiences",
    status_code=202,
    summary="Choose for all customers at once",
    responses={202: ResponseSpec(Audience, description="It is being made.", generate_examples=False)} | PROBLEMS_HERE,
    **TOLD,
)
async def make(data: JSONBody[AudienceRequest], request: Asked, state: State) -> Response[Any]:
    """Begin an audience, in a process of its own. For seven days its state and file are at `/v1/audiences/{id}`."""
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    now = time.time_ns() // 1000
    try:
        audience = begin(data.placement, data.where, data.at, data.rehearse, data.format, now, data.explain)
        plan(audience.id, data.placement, data.where, parse_time(audience.at, now), state.live.frame, {})
    except AudienceError as error:
        raise InvalidError(error.field, str(error)) from error
    status = await asyncio.to_thread(_note, state, audience)
    _start(state, status)
    return Response(audience, status_code=202)


@get(
    "/v1/audiences/{id:str}",
    summary="How far an audience is",
    responses={200: ResponseSpec(Audience, description="Its state.", generate_examples=False)} | PROBLEMS_HERE,
    **TOLD,
)
async def show(id: FromPath[str], request: Asked, state: State) -> Response[Any]:  # noqa: A002  # the path's word
    """What an audience came to so far: who gets something, and who does not, by reason."""
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    return Response(_find(state, id))


@get(
    "/v1/audiences/{id:str}/file",
    summary="Who gets what, why, and when",
    responses={200: ResponseSpec(None, description="The file.", generate_examples=False)} | PROBLEMS_HERE,
    **TOLD,
)
async def download(id: FromPath[str], request: Asked, state: State) -> File | Response[Any]:  # noqa: A002  # as above
    """The file of an audience that is done."""
    if (refused := refuse(request, state.settings)) is not None:
        return refused
    audience = _find(state, id)
    if audience.status != "done":
        return respond("There is nothing here", 404, f"the audience is {audience.status}", "id")
    path = _folder(state) / f"{audience.id}.{audience.format}"
    return File(path, filename=f"{audience.placement}.{audience.format}", media_type=MEDIA[audience.format])


def _folder(state: State) -> Path:
    folder: Path = state.settings.home.root / FOLDER
    return folder


def _note(state: State, audience: Audience) -> Path:
    """Where the state of an audience stands from now on."""
    folder = _folder(state)
    folder.mkdir(parents=True, exist_ok=True)
    for path in _old(folder):
        path.unlink(missing_ok=True)
    status = folder / f"{audience.id}.json"
    save(audience, status)
    return status


def _start(state: State, status: Path) -> None:
    """From the thread that lives as long as the process: the one that starts a child ties it to its life."""
    environment = os.environ | {"KAIROS_HOME": str(state.settings.home.root), "KAIROS_REDIS_URL": state.redis_url}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    program = [sys.executable, "-m", "service.audiences.child", str(status)]
    process = subprocess.Popen(tether.command(program), env=environment)  # noqa: S603  # our own program
    state.children = [child for child in state.get("children", []) if child.poll() is None] + [process]


def _old(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - KEPT_SECONDS:
                yield path


def _find(state: State, name: str) -> Audience:
    """Raises InvalidError (404)."""
    for child in state.get("children", []):
        child.poll()  # so that one that has ended is known to have
    path = _folder(state) / f"{name}.json"
    if NAME.fullmatch(name) is None or not path.is_file():
        raise InvalidError("id", f"there is no audience {name[:40]!r}", 404)
    audience = msgspec.json.decode(path.read_bytes(), type=Audience)
    if audience.status == "running" and audience.process and not is_alive(audience.process):
        audience.status, audience.error = "failed", "its process ended before it was done"
    return audience


handlers = [make, show, download]
