"""A challenger scores a sample of the champion's decisions in a thread of its own, after they were answered.

A decision hands over what it has anyway, and never waits: where the thread is behind, it is dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
import numpy as np

from models.bundle import CHAMPION
from models.policy import prioritise
from service import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.bundle import Bundle
    from service.decisions.choose import Chosen, Slate

    Floats = NDArray[np.float64]

log = logging.getLogger(__name__)

CHALLENGER = "challenger"
WAITING = 32
"""Decisions that may wait for the thread."""
NICE = 10
"""Of the thread, where the system has that for threads."""
SCALE = 1 << 20


class Task(msgspec.Struct, frozen=True):
    """A placement that the champion filled, and who else is to score it."""

    slate: Slate
    challenger: Bundle


class Scored(msgspec.Struct, frozen=True):
    """The challenger beside the champion, of one placement."""

    agreed: bool
    """Whether both put the same candidate first, of those that might be shown."""
    champion: float
    """Its mean propensity, and the challenger's."""
    challenger: float
    distance: float
    """Mean size of the difference between their propensities."""


class Shadow:
    """The thread and its queue; the thread starts with the first decision that has a challenger."""

    def __init__(self, share: float) -> None:
        """`share` of the decisions are scored; 0: none."""
        self._below = round(share * SCALE)
        self._tasks: queue.Queue[Task | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None

    def offer(self, decision_id: str, chosen: Chosen, models: Mapping[str, Bundle]) -> None:
        """Let what was chosen be scored, if it is in the sample and there is a challenger. It takes microseconds."""
        if not self._below or crc32(decision_id.encode("utf-8", "surrogatepass")) % SCALE >= self._below:
            return
        for slate in chosen.slates:
            challenger = find_challenger(slate, models)
            if challenger is not None:
                self._put(Task(slate, challenger))

    def close(self) -> None:
        """End the thread; what waits is not scored any more."""
        if self._thread is None:
            return
        with contextlib.suppress(queue.Empty):
            while True:
                self._tasks.get_nowait()
        self._tasks.put(None)
        self._thread.join()
        self._thread = None

    def _put(self, task: Task) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            metrics.SHADOWED.labels(task.challenger.label, "dropped").inc()

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # whoever answers comes first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while (task := self._tasks.get()) is not None:
            label = task.challenger.label
            try:
                began = time.perf_counter()
                propensity = task.challenger.propensities(task.slate.features)
                metrics.SHADOW_SECONDS.labels(label).observe(time.perf_counter() - began)
                found = compare(task.slate, propensity)
            except Exception:  # whatever is wrong with a challenger, the champion's decisions go on
                log.exception("%s cannot score what the champion has", label)
                metrics.SHADOWED.labels(label, "failed").inc()
                continue
            metrics.SHADOWED.labels(label, "agreed" if found.agreed else "differed").inc()
            metrics.SHADOW_DISTANCE.labels(label).observe(found.distance)
            metrics.SHADOW_PROPENSITY.labels(label, CHAMPION).inc(found.champion)
            metrics.SHADOW_PROPENSITY.labels(label, CHALLENGER).inc(found.challenger)


def find_challenger(slate: Slate, models: Mapping[str, Bundle]) -> Bundle | None:
    """Who scores a placement beside its champion; None where there is none, or no champion decided."""
    alias = slate.placement.model
    if slate.bundle is None or slate.propensity is None or not slate.features or not alias.endswith(CHAMPION):
        return None
    challenger = models.get(alias.removesuffix(CHAMPION) + CHALLENGER)
    return None if challenger is slate.bundle else challenger


def compare(slate: Slate, propensity: Floats) -> Scored:
    """`propensity` (m,) is the challenger's, over the slate's pool."""
    assert slate.propensity is not None  # noqa: S101  # find_challenger has seen it
    priority = propensity
    if slate.placement.strategy == "value":
        priority = prioritise(propensity, slate.value, slate.pool.weight)
    legal = slate.legal
    best, other = (np.where(legal, it, -np.inf) for it in (slate.priority, priority))
    return Scored(
        agreed=not legal.any() or int(best.argmax()) == int(other.argmax()),
        champion=float(slate.propensity.mean()),
        challenger=float(propensity.mean()),
        distance=float(np.abs(propensity - slate.propensity).mean()),
    )
