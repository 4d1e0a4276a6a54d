"""A Dask cluster to train on: one that runs already, by its scheduler's address, or one of this machine's processes.

Refuses one that does not answer, has no workers, or whose workers run other code or do not see the home.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from typing import TYPE_CHECKING, Any

from training.cluster import probing
from training.labels import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from features.home import Home

LOCAL = re.compile(r"local(?::([1-9]\d{0,2}))?")
SCHEDULER = re.compile(r"(?:tcp|tls|ws|wss|ucx)://\S+:\d+")
PATIENCE = 10.0
"""Seconds for a scheduler to answer, and for its workers."""
START = 60.0
"""Seconds for processes of this machine to start."""
QUIET = ("distributed", "distributed.nanny", "distributed.worker", "distributed.scheduler", "distributed.core")
CONFIGURATION = {
    "distributed.comm.timeouts.connect": PATIENCE,
    "distributed.worker.use-file-locking": False,
    "distributed.admin.large-graph-warning-threshold": "1 GiB",
}


def check(address: str) -> None:
    """Raises TrainingError for what is no address, and where `distributed` is not installed."""
    if not LOCAL.fullmatch(address) and not SCHEDULER.fullmatch(address):
        raise TrainingError(
            f"--cluster {address!r}: give a Dask scheduler's address (tcp://host:8786), or local:2 for two processes "
            "of this machine"
        )
    try:
        import distributed  # noqa: F401  # whether it is there
    except ImportError:
        raise TrainingError("--cluster needs Dask's distributed: install kairos[cluster]") from None


@contextlib.contextmanager
def connect(address: str, home: Home) -> Iterator[Client]:
    """A client of a cluster whose workers can do the work. Raises TrainingError, which says what would help."""
    check(address)
    import dask
    from distributed import Client

    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(CONFIGURATION))
        stack.enter_context(_quietly())
        place: Any = address
        if found := LOCAL.fullmatch(address):
            place = stack.enter_context(_start(int(found[1] or os.cpu_count() or 1)))
        try:
            client = stack.enter_context(Client(place, timeout=PATIENCE))
        except (OSError, TimeoutError) as error:
            raise TrainingError(
                f"the Dask scheduler at {address} does not answer within {PATIENCE:.0f} s ({_line(error)}): start it "
                "(dask scheduler), or give the address that it prints"
            ) from None
        _await_workers(client, address)
        probing.require_alike(client, home)
        yield client


@contextlib.contextmanager
def _start(processes: int) -> Iterator[Any]:
    from distributed import LocalCluster

    threads = max(1, (os.cpu_count() or 1) // processes)
    with LocalCluster(
        n_workers=processes,
        threads_per_worker=threads,
        host="127.0.0.1",
        dashboard_address=None,
        worker_dashboard_address=None,
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster


def _await_workers(client: Client, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=START if LOCAL.fullmatch(address) else PATIENCE)
    except TimeoutError:
        raise TrainingError(
            f"the Dask scheduler at {address} has no workers: start some (dask worker {address}), each in an "
            "environment like this one and with the home mounted"
        ) from None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the log of the client's side: what matters of it is raised."""
    before = {name: logging.getLogger(name).level for name in QUIET}
    try:
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
