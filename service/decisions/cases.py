"""What a reason is told of: one candidate of a slate, on its page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from service.catalog.parts import format_duration
from service.catalog.windows import EVER

if TYPE_CHECKING:
    from service.decisions.choose import Slate
    from service.decisions.eligibility import Page
    from service.decisions.question import Question

Told = tuple[str, dict[str, Any]]
"""A sentence, and the inputs by name."""


class Case(msgspec.Struct, frozen=True):
    """A candidate of a slate, and the page as it was before the slate."""

    question: Question
    slate: Slate
    page: Page
    id: str
    at: int
    """Position in the pool; -1 if it is not in it."""


def span(seconds: float) -> str:
    whole = int(seconds)
    return format_duration(timedelta(seconds=whole)) if whole > 0 else "0s"


def moment(microseconds: int) -> str | None:
    """ISO 8601 in UTC; null for what has no end."""
    if abs(microseconds) >= EVER:
        return None
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")
