"""Real worker processes on one home; one that dies is started again: `python workers.py HOME REDIS_URL COUNT HASTE`.

`HASTE` divides how long leases last, so that a test sees many of them run out. They end when standard input does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from features import leases, tether
from features.home import Home
from features.settings import Settings
from features.store import OnlineStore
from service import worker


def hasten(haste: float) -> None:
    for name in ("LEASE_SECONDS", "RENEW_SECONDS", "MARGIN_SECONDS"):
        setattr(leases, name, getattr(leases, name) / haste)
    worker.ROUND_SECONDS /= haste
    worker.PATIENCE_SECONDS /= haste


def start(settings: Settings, redis_url: str, index: int) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    tether.tie(parent)
    worker.run(settings, redis_url, index)
    os._exit(0)


def main(root: str, redis_url: str, count: str, haste: str) -> None:
    settings = Settings(home=Home(Path(root)), redis_url=redis_url, archive_seconds=0.3)
    OnlineStore(settings.home, redis_url)  # Feast imports half of itself on first use: once, not in each child
    hasten(float(haste))
    children = [start(settings, redis_url, index) for index in range(int(count))]
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        for index, child in enumerate(children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if not pid:
                continue
            if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                sys.exit(f"a worker ended with {status}")
            children[index] = start(settings, redis_url, index)
    for child in children:
        os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + 60
    for child in children:
        while not os.waitpid(child, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                sys.exit("a worker does not stop")
            time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
