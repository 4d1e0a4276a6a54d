"""Work spread over processes, where there is enough of it to pay for their start."""

from __future__ import annotations

import contextlib
import gc
import os
from collections import deque
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MOST = 8
AHEAD = MOST + 4
"""Pieces of work that are given out before the first of them is asked for: all processes have some."""


class Here(Executor):
    """Does at once, in this process, what it is given."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*arguments, **named))
        return future


class _Piece:
    def __init__(self, pool: Executor, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._work, self._arguments, self._mine = work, arguments, False
        self.future = pool.submit(work, *arguments)

    def take(self) -> bool:
        """Do it here, if nobody has begun with it."""
        if self._mine or not self.future.cancel():
            return False
        self._mine, self._found = True, self._work(*self._arguments)
        return True

    def finish(self) -> Any:
        self.take()
        return self._found if self._mine else self.future.result()


def share(pool: Executor, work: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """What the work gives for each of these, in their order; this process does what no other has begun.

    Arguments are asked for as they are needed, some ahead: they may be large.
    """
    ahead: deque[_Piece] = deque()
    for some in arguments:
        ahead.append(_Piece(pool, work, some))
        if len(ahead) == AHEAD:
            yield _next(ahead)
    while ahead:
        yield _next(ahead)


def _next(ahead: deque[_Piece]) -> Any:
    """What the first gives; while it is worked on, this process does those furthest back."""
    first = ahead.popleft()
    while not first.future.done():
        if not any(piece.take() for piece in reversed(ahead)):
            break
    return first.finish()


@contextlib.contextmanager
def spread(pays: bool) -> Iterator[Executor]:
    """A process a processor, this one among them; this one alone where it does not pay."""
    others = min(os.cpu_count() or 1, MOST) - 1
    if not pays or not others:
        yield Here()
        return
    # Started anew and not forked: this process has threads.
    with ProcessPoolExecutor(others, get_context("spawn"), gc.disable) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look at millions of rows again and again, none of them in a circle."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
