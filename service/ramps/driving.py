"""A ramp from its start to its end or its pause, with a line on the terminal for each look."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from features.documents import DocumentError
from models.bundle import BundleError
from service.ramps import steering, terminal
from service.ramps.state import RampError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from service.ramps.state import Ramp
    from service.ramps.steering import Seen, Steering


def drive(
    driven: Steering,
    console: Console,
    seconds: float,
    *,
    back: bool = False,
    rest: Callable[[float], None] = time.sleep,
) -> Ramp:
    """Look every so many seconds until the ramp has ended; as it ended. KeyboardInterrupt pauses it, and passes.

    What fails at a look (a registry that is away, a catalog that is broken) is told, and tried again at the next one.
    """
    terminal.greet(console, driven.ramp)
    try:
        while True:
            try:
                seen = _act(driven, back=back)
            except (RampError, BundleError, DocumentError, OSError) as error:
                terminal.fail(console, error)
            else:
                terminal.show(console, seen)
                if seen.is_over:
                    terminal.conclude(console, seen.ramp)
                    return seen.ramp
            rest(seconds)
    except KeyboardInterrupt:
        _pause(driven, console)
        raise


def _pause(driven: Steering, console: Console) -> None:
    try:
        driven.pause()
    except (RampError, DocumentError, OSError) as error:
        terminal.warn(console, driven.ramp, error)
    else:
        terminal.rest(console, driven.ramp)


def _act(driven: Steering, *, back: bool) -> Seen:
    if back and driven.ramp.ending is None:
        return driven.end("taken back", steering.BY_HAND)
    driven.resume()
    return driven.look()
