"""`kairos train --every`: trainings one after another, each in a process of its own, whatever becomes of the others;
and after each a look at how the champion does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

WORDS = {0: "trained", 1: "refused", 3: "kept the champion"}
"""What an exit code says."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One training of a schedule."""

    number: int
    code: int
    """Its exit code; below 0 the signal that ended it."""
    seconds: float

    @property
    def word(self) -> str:
        return WORDS.get(self.code, f"failed (exit code {self.code})")


def repeat(
    arguments: Sequence[str],
    every: float,
    wait: Callable[[float], None] = time.sleep,
    run: Callable[[list[str]], int] = subprocess.call,
) -> Iterator[Ended]:
    """Run `kairos train` with the arguments, then again `every` seconds after it began, for as long as it is asked.

    One that takes longer is followed at once by the next. A training of its own process gives its memory back, and
    one that is killed or fails leaves the schedule and the champion as they were.
    """
    number = 0
    while True:
        number += 1
        began = time.monotonic()
        code = run([sys.executable, "-m", "kairos", "train", *arguments])
        seconds = time.monotonic() - began
        yield Ended(number=number, code=code, seconds=seconds)
        wait(max(every - seconds, 0.0))


def look_after(home: Path | None, name: str, run: Callable[[list[str]], int] = subprocess.call) -> int:
    """Find out how the champion does, in a process of its own, so that running services show it; its exit code."""
    place = [] if home is None else ["--home", str(home)]
    return run([sys.executable, "-m", "kairos", "models", "health", "--name", name, *place])


def without_every(arguments: Sequence[str]) -> list[str]:
    """The command line of one training of the schedule.

    >>> without_every(["--every", "6h", "--promote", "--every=6h"])
    ['--promote']
    """
    kept = []
    skip = False
    for argument in arguments:
        if not skip and not argument.startswith("--every"):
            kept.append(argument)
        skip = argument == "--every"
    return kept
