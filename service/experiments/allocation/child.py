"""The process that moves weights: `python -m service.experiments.allocation.child HOME EXPERIMENT...`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from features import refusal
from features.settings import load

NICE = 10


def run(root: str, names: list[str]) -> None:
    """Move them, or say on standard error why not."""
    from service.experiments.allocation.moving import move

    os.nice(NICE)
    try:
        move(load(os.environ, Path(root)).home, names, time.time_ns() // 1000)
    except ValueError as error:
        if (message := refusal.explain(error)) is None:
            raise
        sys.stderr.write(message)
        raise SystemExit(refusal.REFUSED) from None


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
