"""What a check found: a verdict, the facts in words and in figures, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Verdict = Literal["ok", "warning", "problem"]
VERDICTS: tuple[Verdict, ...] = ("ok", "warning", "problem")
"""From the best to the worst."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""
    figures: dict[str, Any] = {}
    """The same for machines; seconds and bytes."""


def judge(value: float, warning: float, problem: float) -> Verdict:
    """What is above a bound is as bad as the bound says."""
    return "problem" if value > problem else "warning" if value > warning else "ok"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=VERDICTS.index, default="ok")


def duration(seconds: float) -> str:
    """Seconds in words, in the unit that reads best."""
    for size, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e3:.3g} ms"


def amount(size: float) -> str:
    """Bytes in words."""
    for factor, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"
