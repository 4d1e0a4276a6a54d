"""May this candidate be shown here and now? What may not has its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.decisions.frame import Frame
    from service.decisions.schema import AskedPlacement

    Ints = NDArray[np.int64]


def screen(frame: Frame, asked: AskedPlacement, shown: set[int]) -> tuple[Ints, dict[str, list[str]]]:
    """(kept, rejected): positions of the candidates that may be shown in a placement, and the others by reason.

    `shown` are the positions that the page shows already.
    """
    rejected: dict[str, list[str]] = {}
    if asked.candidates is None:
        pool = frame.pools[asked.id]
    else:
        place = frame.compiled.place
        wanted = list(dict.fromkeys(asked.candidates))
        pool = np.array([place[text] for text in wanted if text in place], np.int64)
        if unknown := [text for text in wanted if text not in place]:
            rejected["unknown_candidate"] = unknown
    if shown:
        again = np.isin(pool, list(shown))
        if again.any():
            rejected["shown_on_page"] = [frame.compiled.candidates[at].id for at in pool[again]]
            pool = pool[~again]
    return pool, rejected
