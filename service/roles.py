"""Work that goes on beside a worker's own, in a thread: what one process of all has to do now and then."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def beside(work: Callable[..., None], *arguments: Any, patience: float) -> Iterator[None]:
    """For the duration, `work(over, *arguments)`; at the end `over` is set, and waited for so many seconds."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over, *arguments), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(patience)
