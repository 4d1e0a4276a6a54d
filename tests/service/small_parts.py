"""A process tree as `kairos up` makes it, with small parts in place of the API and the worker.

Run as `python small_parts.py HOME [MODE]`; the mode is one of the worker's, or `serve` or `work` for a part alone.
Parts note what they do in HOME/journal, one line each.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from features.home import Home
from features.occupancy import UnavailableError
from features.settings import Settings
from service.supervisor import tree

if TYPE_CHECKING:
    import socket
    from types import FrameType

MODE = sys.argv[2] if len(sys.argv) > 2 else "obedient"
stopping = threading.Event()


def stop(_number: int, _frame: FrameType | None) -> None:
    stopping.set()


def note(settings: Settings, text: str) -> None:
    with (settings.home.root / "journal").open("a") as journal:
        journal.write(f"{text} {os.getpid()}\n")


def api(settings: Settings, _redis_url: str, listener: socket.socket, index: int) -> None:
    """Answers every request with 200; on SIGTERM it finishes."""
    signal.signal(signal.SIGTERM, stop)
    note(settings, f"api-{index} started")
    listener.settimeout(0.05)
    while not stopping.is_set():
        try:
            connection, _ = listener.accept()
        except (TimeoutError, BlockingIOError):
            continue
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    note(settings, f"api-{index} ended")


def worker(settings: Settings, redis_url: str, index: int) -> None:
    """Waits; on SIGTERM it writes to Redis once more, which shows that Redis is stopped after it."""
    if MODE == "refused":
        raise UnavailableError("the worker cannot work like this")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if MODE == "stubborn" else stop)
    note(settings, "worker started")
    stopping.wait()
    with redis.Redis.from_url(redis_url) as client:
        client.set("last words of the worker", index)
    note(settings, "worker ended")


if __name__ == "__main__":
    settings, entries = Settings(home=Home(Path(sys.argv[1]))), tree.Entries(api=api, worker=worker)
    if MODE == "work":
        raise SystemExit(tree.work(settings, lambda: entries, tree.say_with_time))
    start = tree.serve if MODE == "serve" else tree.up
    raise SystemExit(start(settings, "127.0.0.1", 0, 2, lambda: entries, tree.say_with_time))
