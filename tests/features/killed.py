"""Workers that are killed at random moments, one after the other; started as `python killed.py HOME REDIS_URL SEED`."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from features.home import Home
from tests.features.deployment import Deployment

KILLS = 15
LONGEST_LIFE = 0.3


def work(home: Home, redis_url: str, chance: random.Random) -> None:
    """Do all there is to do, in small steps."""
    deployment = Deployment(home, redis_url)
    while deployment.work(chance.choice([1, 5, 20])):
        deployment.flush()
        deployment.snapshot()


def main(root: str, redis_url: str, seed: str) -> None:
    Deployment(
        Home(Path(root)), redis_url
    ).close()  # Feast imports half of itself on first use: once, not in each child
    chance = random.Random(int(seed))
    for turn in range(KILLS):
        child = os.fork()
        if not child:
            work(Home(Path(root)), redis_url, random.Random(turn))
            os._exit(0)
        time.sleep(chance.uniform(0.0, LONGEST_LIFE))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
            sys.exit(f"a worker ended with {status}")


if __name__ == "__main__":
    main(*sys.argv[1:])
