"""What `kairos up`, `serve` and `worker` are made of: which parts, in which order, on which socket and home."""

from __future__ import annotations

import contextlib
import gc
import http.client
import os
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from features import embedded
from features.occupancy import Run, UnavailableError, announce, occupy, require_version
from service.catalog import starter
from service.supervisor.processes import fork, threads
from service.supervisor.supervision import Part, supervise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from features.settings import Settings

BACKLOG = 1024


class Entries(msgspec.Struct, frozen=True, kw_only=True):
    """What the children run; each returns after SIGTERM once it has drained."""

    api: Callable[[Settings, str, socket.socket, int], None]
    worker: Callable[[Settings, str, int], None]


def up(
    settings: Settings, host: str, port: int, workers: int, load: Callable[[], Entries], say: Callable[[str], None]
) -> int:
    """Redis (unless the settings name one), worker and API as one tree; blocks, and returns the exit code.

    `load` imports what the children need, once for all of them. Raises UnavailableError before anything is started.
    """
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(occupy(settings.home))
        starter.ensure(settings.home)
        listeners = stack.enter_context(contextlib.closing(Listeners(host, port, workers)))
        address = None if settings.redis_url else embedded.choose_address()
        url = address.url if address else settings.redis_url or ""
        if address:
            embedded.find()  # a missing server is said before the seconds of loading
        say(f"starting in {settings.home.root}")
        entries = stack.enter_context(_shared(load, say))
        redis = [_redis(settings, address, lock)] if address else []
        stages = [redis, [_worker(settings, url, entries, listeners)], _api(settings, url, listeners, entries)]
        run = Run(pid=os.getpid(), redis_url=url, api_url=url_of(listeners.sockets[0]))
        stack.enter_context(announce(settings.home, run))
        return supervise(
            [stage for stage in stages if stage],
            say=say,
            ready=partial(_greet, settings, run.api_url, say),
            closing=listeners.close,
        )


def serve(
    settings: Settings, host: str, port: int, workers: int, load: Callable[[], Entries], say: Callable[[str], None]
) -> int:
    """API processes alone, against a Redis that runs already."""
    url = _running_redis(settings)
    starter.ensure(settings.home)
    with contextlib.closing(Listeners(host, port, workers)) as listeners, _shared(load, say) as entries:
        stage = _api(settings, url, listeners, entries)
        greet = partial(_greet, settings, url_of(listeners.sockets[0]), say)
        return supervise([stage], say=say, ready=greet, closing=listeners.close)


def work(settings: Settings, load: Callable[[], Entries], say: Callable[[str], None]) -> int:
    """A worker alone, against a Redis that runs already."""
    url = _running_redis(settings)
    with _shared(load, say) as entries:
        stage = [_worker(settings, url, entries)]
        return supervise([stage], say=say, ready=lambda: say("the worker is running; stop it with Ctrl-C"))


class Listeners:
    """A listening socket for each API process, all on one port, among which the system spreads new connections.

    Sharing one socket lets whichever process wakes first take all that wait (16 of 16 connections were seen).
    """

    def __init__(self, host: str, port: int, count: int) -> None:
        """Port 0 takes a free one. Raises UnavailableError."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = found[0]
            with socket.create_server(address[:2], family=family) as first:
                # Bound without sharing: a port that another program listens on is refused, even one that shares it.
                free: tuple[str, int] = first.getsockname()[:2]
            self.sockets = [
                socket.create_server(free, family=family, backlog=BACKLOG, reuse_port=True) for _ in range(count)
            ]
        except OverflowError as error:
            raise UnavailableError(f"{port} is not a port: choose one from 0 to 65535 with --port") from error
        except OSError as error:
            reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
            raise UnavailableError(
                f"cannot listen on {host} port {port}: {reason}; choose another with --port or --host"
            ) from error

    def keep(self, index: int | None) -> None:
        """In a child: close all but its own. Held elsewhere, a socket would take connections while the tree stops."""
        for at, listener in enumerate(self.sockets):
            if at != index:
                listener.close()

    def close(self) -> None:
        self.keep(None)


def url_of(listener: socket.socket) -> str:
    """Where to reach the listener from this machine."""
    host, port = _reachable(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _reachable(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104  # looked up, not bound


def _running_redis(settings: Settings) -> str:
    require_version(settings.home)
    if url := embedded.running(settings):
        return url
    raise UnavailableError(f"no Redis: set KAIROS_REDIS_URL, or start `kairos up` on the home {settings.home.root}")


@contextlib.contextmanager
def _shared(load: Callable[[], Entries], say: Callable[[str], None]) -> Iterator[Entries]:
    """Import once for all children, and keep what was imported out of garbage collections, so that it stays shared."""
    entries = load()
    if len(running := threads()) > 1:
        say(f"warning: a library started threads before the fork: {', '.join(running)}")
    gc.collect()
    gc.freeze()
    try:
        yield entries
    finally:
        gc.unfreeze()  # DuckDB's binding reports every object that is left at the end as a leak


def _redis(settings: Settings, address: embedded.Address, lock: int) -> Part:
    return Part(
        name="redis",
        start=lambda: embedded.launch(settings.home, address, keep=(lock,)).process,
        probe=lambda: embedded.probe(address.url),
    )


def _worker(settings: Settings, url: str, entries: Entries, listeners: Listeners | None = None) -> Part:
    def run() -> None:
        if listeners:
            listeners.close()
        entries.worker(settings, url, 0)

    return Part(name="worker", start=lambda: fork(run))


def _api(settings: Settings, url: str, listeners: Listeners, entries: Entries) -> Sequence[Part]:
    address = _reachable(listeners.sockets[0])

    def part(index: int) -> Part:
        def run() -> None:
            listeners.keep(index)
            entries.api(settings, url, listeners.sockets[index], index)

        return Part(name=f"api-{index}", start=lambda: fork(run), probe=lambda: _ready(address))

    return [part(index) for index in range(len(listeners.sockets))]


def _ready(address: tuple[str, int]) -> str | None:
    """None when GET /ready answers 200, else what it says; any of the processes may answer."""
    connection = http.client.HTTPConnection(*address, timeout=1)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            text = answer.read(500).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return f"no answer yet ({error})"
    return None if answer.status == http.HTTPStatus.OK else f"{answer.status} {text}"


def _greet(settings: Settings, url: str, say: Callable[[str], None]) -> None:
    say(f"Kairos is ready at {url}\n  API    {url}/schema\n  home   {settings.home.root}\n  stop   Ctrl-C")


def say_with_time(text: str) -> None:
    """A line on the terminal, with the time of day."""
    with contextlib.suppress(OSError):  # the terminal may be gone, and the parts have still to be stopped
        print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)
