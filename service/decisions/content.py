"""What the page shows of a candidate: the content for the placement and the visitor's locale, with templates filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from service.decisions.expressions import LOCALE, describe, given

if TYPE_CHECKING:
    from service.decisions.choose import Slate
    from service.decisions.question import Question


def fill(question: Question, slate: Slate, place: int, at: int | None) -> dict[str, Any]:
    """The content of the candidate at `place` of the catalog, and `at` in the pool (None: the default by itself)."""
    locale = question.context.get(LOCALE)
    contents = slate.contents.get(place) or question.frame.compiled.contents[place]
    spoken = locale if isinstance(locale, str) else None

    def values() -> dict[str, Any]:
        known = {name: given(question, name) for name in ("traits", "segments", "context")}
        features: dict[str, float] = {}
        if at is not None:
            features = {name: float(column[at]) for name, column in slate.features.items()}
            known["candidate"] = describe(question, slate.pool, at)
        known["features"] = {name: value for name, value in features.items() if not np.isnan(value)}
        known["placement"] = slate.placement.id
        return known

    return contents.of(slate.placement.id, spoken, values)
