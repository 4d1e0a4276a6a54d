"""A ramp as its home keeps it: one file for each model's name, written whole before and after each act, so that a ramp
that was killed anywhere goes on where it was. Refuses two processes on one ramp.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

import msgspec

from models.ramped import Outcome, Step  # noqa: TC001  # msgspec resolves them at run time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from features.home import Home

Ranges = tuple[tuple[int, int], ...]
DAY = 86_400.0


class RampError(ValueError):
    """A ramp that cannot begin or go on; the message says what is in the way."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What each step asks for."""

    steps: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 1.0)
    """Shares of the units, ascending to 1."""
    units: int = 1000
    """Of the challenger, that a step has to compare before the next one."""
    seconds: float = 3600.0
    """That a step takes at least."""
    patience: float = 14 * DAY
    """Seconds after which a step that has not come to an end is taken back."""
    tolerated: float = 0.1
    """Of the click rate: a loss that must be excluded before all units get the challenger, relative."""
    errors: float = 0.01
    """By how much more of the decisions may fall to a lower rung."""
    slower: float = 0.25
    """By how much longer decisions may take, relative."""
    confidence: float = 0.95
    """That a challenger as good as the champion is not taken back, over the whole ramp."""


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The champion in the last step that had one, for the step that has none: by guardrail value and variance."""

    units: int
    values: dict[str, tuple[float, float]]


class Ramp(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    champion: str
    """The version beside which it is compared."""
    experiment: str
    placements: tuple[str, ...]
    plan: Plan
    forced: bool = False
    """Past gates that did not hold."""
    at: int = 0
    """Position of the step."""
    began: int = 0
    """When the step went live, in microseconds; 0: not yet."""
    rested: int = 0
    """Microseconds of the step in which the ramp was paused."""
    paused: int = 0
    """Since when nobody gets the challenger, in microseconds; 0: the ramp runs."""
    ranges: Ranges = ()
    """The challenger's buckets in this step."""
    fresh: Ranges = ()
    """Those of them that had the champion until this step."""
    control: Ranges = ()
    """The champion's buckets."""
    base: Base | None = None
    done: list[Step] = []
    ending: Outcome | None = None
    """Decided, and not yet wholly done."""
    reason: str = ""

    @property
    def share(self) -> float:
        return self.plan.steps[self.at]


_decoder = msgspec.json.Decoder(Ramp)  # made once: two threads that make one at a time end the process


def read(home: Home, name: str) -> Ramp | None:
    """The ramp that is under way. Raises RampError for a file that cannot be read."""
    path = _path(home, name)
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise RampError(f"{path}: {error}") from error


def write(home: Home, ramp: Ramp) -> Ramp:
    """Keep it, safe from a power cut; the same."""
    path = _path(home, ramp.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(ramp)))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return ramp


def remove(home: Home, name: str) -> None:
    _path(home, name).unlink(missing_ok=True)


@contextlib.contextmanager
def alone(home: Home, name: str) -> Iterator[None]:
    """Hold the ramps of a model. Raises RampError if another process does."""
    path = _path(home, name).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RampError(f"another process drives the ramp of {name!r}: end it first (Ctrl-C pauses it)") from None
        yield


def _path(home: Home, name: str) -> Path:
    return home.root / "ramps" / f"{name}.json"
