"""Keeps parts running: starts them in stages, restarts what dies with a growing delay, and stops them in reverse order.

One loop and no threads, so that it can fork at any time.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import msgspec

from features.occupancy import UnavailableError
from features.refusal import REFUSED
from service.supervisor.signals import describe, open_inbox, receive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.supervisor.processes import Process

    Say = Callable[[str], None]
    Clock = Callable[[], float]

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
HEALTHY = 30.0
"""Seconds that a part has to run for its next restart to be the first again."""
ATTEMPTS = 4
"""Ends of one part, before everything was ready for the first time, that end the whole start."""
GRACE = 10.0
"""Seconds that each stage gets to drain."""
PATIENCE = 30.0
"""Seconds after which a slow start says what it waits for."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Something to keep running."""

    name: str
    start: Callable[[], Process]
    probe: Callable[[], str | None] = lambda: None
    """None when the part is ready, else what it waits for; asked while the stages start."""


class Watch(msgspec.Struct):
    """A part, its process and when to start it next."""

    part: Part
    process: Process | None = None
    started: float = 0.0
    due: float = 0.0
    delay: float = 0.0
    ends: int = 0
    refused: bool = False


def supervise(
    stages: Sequence[Sequence[Part]],
    *,
    say: Say,
    ready: Callable[[], None],
    closing: Callable[[], None] = lambda: None,
    grace: float = GRACE,
    clock: Clock = time.monotonic,
) -> int:
    """Run the stages, each started when the one before it is ready, until SIGTERM, SIGINT or SIGHUP; the exit code.

    `ready` is called once, when the last stage is. 1 when a part kept ending before that, or was refused on its first
    start: then it says why, and starting it again would not help. `closing` is called before anything is stopped.
    """
    watches = [[Watch(part) for part in stage] for stage in stages]
    with open_inbox() as inbox:
        try:
            return _run(watches, inbox, say, ready, clock)
        finally:
            say("stopping")
            closing()  # or a new connection would wait in the queue of a socket that nobody reads
            for stage in reversed(watches):
                grace = _stop(stage, inbox, say, grace, clock)
            say("stopped")


def _run(stages: list[list[Watch]], inbox: int, say: Say, ready: Callable[[], None], clock: Clock) -> int:
    opened, waiting, begun, patience = 0, True, clock(), PATIENCE
    while True:
        started = [watch for stage in stages[: opened + 1] for watch in stage]
        for watch in started:
            _keep(watch, say, clock)
        if any(watch.refused or (waiting and watch.ends >= ATTEMPTS) for watch in started):
            say("giving up: the reason stands above")
            return 1
        if waiting:
            reason = _reason(stages[opened])
            if reason is None and opened + 1 < len(stages):
                opened += 1
                continue
            if reason is None:
                waiting = False
                ready()
            elif clock() - begun > patience:
                say(f"still waiting: {reason}")
                patience *= 2
        due = [watch.due - clock() for watch in started if watch.process is None]
        if receive(inbox, min([0.1] if waiting else [*due, 60.0])) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            return 0


def _keep(watch: Watch, say: Say, clock: Clock) -> None:
    """Notice that the part has ended, and start it when it is due."""
    if watch.process and (code := watch.process.poll()) is not None:
        if code == REFUSED and not watch.ends:
            watch.process, watch.refused = None, True
            return
        _schedule(watch, describe(code), say, clock)
    if watch.process is None and clock() >= watch.due:
        watch.started = clock()
        try:
            watch.process = watch.part.start()
        except (OSError, UnavailableError) as error:
            _schedule(watch, str(error), say, clock)
        else:
            if watch.ends:
                say(f"{watch.part.name} is started again (process {watch.process.pid})")


def _schedule(watch: Watch, reason: str, say: Say, clock: Clock) -> None:
    healthy = watch.process is not None and clock() - watch.started >= HEALTHY
    watch.delay = FIRST_DELAY if healthy or not watch.delay else min(watch.delay * 2, LONGEST_DELAY)
    watch.due = clock() + watch.delay
    watch.process = None
    watch.ends += 1
    say(f"{watch.part.name} ended ({reason}); next start in {watch.delay:g} s")


def _reason(stage: list[Watch]) -> str | None:
    """What the stage waits for, None when all of it is ready."""
    for watch in stage:
        reason = watch.part.probe() if watch.process else "not running"
        if reason is not None:
            return f"{watch.part.name}: {reason}"
    return None


def _stop(stage: list[Watch], inbox: int, say: Say, grace: float, clock: Clock) -> float:
    """Ask every part of the stage to end, wait, and kill what is left; the grace of the next stage.

    Another Ctrl-C ends all waiting.
    """
    processes = {watch.part.name: watch.process for watch in stage if watch.process}
    for process in processes.values():
        process.terminate()
    deadline = clock() + grace
    while (alive := {name: p for name, p in processes.items() if p.poll() is None}) and clock() < deadline:
        if signal.SIGINT in receive(inbox, max(deadline - clock(), 0.0)):
            grace = 0.0
            break
    for name, process in alive.items():
        say(f"{name} did not stop: killed")
        process.kill()
    while any(process.poll() is None for process in alive.values()):
        receive(inbox, 0.1)
    return grace
