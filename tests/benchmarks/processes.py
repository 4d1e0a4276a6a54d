"""Starts the measured servers, each in a process group of its own, and ends the whole group afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300.0
"""On a busy machine importing alone takes a minute or two."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A running server: where it listens, and its first process."""

    url: str
    process: int


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # only our own servers' addresses come here
        return bytes(answer.read())


@contextlib.contextmanager
def running(command: list[str], log: Path, environment: dict[str, str], ready: Callable[[], bool]) -> Iterator[int]:
    """The command, from when `ready` says so (an OSError counts as no) until the block ends; gives its process id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        end = time.monotonic() + START_SECONDS
        while not attempt(ready):
            if process.poll() is not None or time.monotonic() > end:
                tail = log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{' '.join(command)} did not become ready:\n{tail}")
            time.sleep(0.1)
        yield process.pid
    finally:
        stop(process)


def attempt(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except OSError:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the command, which ends its children; then SIGKILL to whatever of its group is left."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def web(
    application: str, workers: int, folder: Path, environment: dict[str, str], server: str = "uvicorn"
) -> Iterator[Address]:
    """An ASGI application of this folder on `workers` processes; gives its address.

    Ready means that `GET /pid` was answered by every one of them.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", server, f"tests.benchmarks.{application}", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--workers", str(workers), "--loop", "uvloop", "--log-level", "warning"]
    command += ["--no-access-log"] if server == "uvicorn" else ["--interface", "asgi", "--no-access-log"]
    seen: set[bytes] = set()

    def ready() -> bool:
        seen.add(read(f"{url}/pid"))
        return len(seen) >= workers

    with running(command, folder / f"{application.split(':')[0]}-{port}.log", environment, ready) as process:
        yield Address(url=url, process=process)
