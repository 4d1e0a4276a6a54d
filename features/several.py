"""Work spread over processes, where there is enough of it to pay for their start."""

from __future__ import annotations

import contextlib
import gc
import os
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MOST = 8


class Here(Executor):
    """Does at once, in this process, what it is given."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*arguments, **named))
        return future


def share(pool: Executor, work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """What the work gives for each of these, in their order; this process does what no other has begun."""
    futures = [pool.submit(work, *some) for some in arguments]
    mine = {at: work(*arguments[at]) for at in reversed(range(len(futures))) if futures[at].cancel()}
    for at, future in enumerate(futures):
        yield mine[at] if at in mine else future.result()


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
