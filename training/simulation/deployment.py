"""The demo's own deployment: its home folder, and `kairos` started in it as a user would.

Refuses to empty a folder that is not a demo's, and keeps the demo away from any deployment that the environment names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from typing import TYPE_CHECKING

from features import tether
from features.occupancy import read_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from features.home import Home

MARK = "KAIROS_DEMO"
LOG = "demo.log"
LAST_LINES = 15
PORT = 8000
PATIENCE = 30.0
"""Seconds that the deployment gets to stop."""


class DemoError(ValueError):
    """Why the demo cannot go on, and what to do about it."""


def prepare(home: Home, catalog: str) -> None:
    """An empty home with the demo's catalog. Raises DemoError for a folder that is in use or is not a demo's."""
    mark = home.root / MARK
    if home.root.exists():
        if not home.root.is_dir():
            raise DemoError(f"{home.root} is not a folder; choose another with --home")
        if any(home.root.iterdir()) and not mark.exists():
            raise DemoError(
                f"{home.root} was not made by the demo, which empties its folder; choose another with --home"
            )
        if run := read_run(home):
            raise DemoError(f"{home.root} is in use by process {run.pid}: stop it first, or choose another with --home")
        shutil.rmtree(home.root)
    home.root.mkdir(parents=True)
    mark.write_text("Made by `kairos demo`, which deletes this folder when it starts again.\n")
    home.catalog.write_text(catalog)


def choose_port(host: str = "127.0.0.1", preferred: int = PORT) -> int:
    """The usual port if it is free, else any."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError), socket.create_server((host, port)) as listener:
            return int(listener.getsockname()[1])
    raise DemoError(f"no free port on {host}; name one with --port")


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what points to another deployment."""
    kept = {name: value for name, value in variables.items() if not name.startswith("KAIROS_")}
    kept.pop("MLFLOW_TRACKING_URI", None)
    return kept | {"PYTHONUNBUFFERED": "1"}


@contextlib.asynccontextmanager
async def running(home: Home, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`kairos up` for the duration; its words go to a file in the home."""
    with (home.root / LOG).open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *tether.command(_kairos("up", "--home", str(home.root), "--port", str(port))),
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(os.environ),
            start_new_session=True,  # Ctrl-C comes to us alone, and we stop it in order
        )
    try:
        yield process
    finally:
        await _stop(process)


async def run_verb(home: Home, verb: str, *arguments: str, hear: Callable[[str], None], width: int) -> None:
    """Run `kairos <verb>` in the home; `hear` gets each line. Raises DemoError when it fails."""
    process = await asyncio.create_subprocess_exec(
        *tether.command(_kairos(verb, "--home", str(home.root), *arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(os.environ) | {"COLUMNS": str(width)},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        async for line in process.stdout:
            hear(line.decode(errors="replace").rstrip())
        code = await process.wait()
    finally:
        await _stop(process)
    if code:
        raise DemoError(f"`kairos {verb}` failed with exit code {code}; its words are above")


def last_lines(home: Home) -> str:
    """What `kairos up` said last."""
    path: Path = home.root / LOG
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-LAST_LINES:])
    return ""


def _kairos(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "kairos", *arguments]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), PATIENCE)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
