"""Where a decision that was made again is another than the logged one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.events.schema import Decision


class Deviation(msgspec.Struct, frozen=True):
    """One value that differs; None is one that is not said."""

    where: str
    """As `placements.home-hero.items.0.propensity`."""
    logged: Any
    again: Any


def compare(logged: Decision, again: Decision, tolerance: float = 0.0) -> list[Deviation]:
    """All differences of the two records; floats may differ by `tolerance`, relative or absolute."""
    return list(_walk(_said(logged), _said(again), tolerance, ""))


def _said(decision: Decision) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(decision)
    said.pop("took", None)  # how long it took is no part of what was decided
    said["placements"] = {slot["id"]: slot for slot in said["placements"]}
    return said


def _walk(one: Any, other: Any, tolerance: float, where: str) -> Iterator[Deviation]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _walk(one.get(key), other.get(key), tolerance, f"{where}.{key}" if where else str(key))
    elif isinstance(one, list) and isinstance(other, list):
        for at in range(max(len(one), len(other))):
            logged, again = (part[at] if at < len(part) else None for part in (one, other))
            yield from _walk(logged, again, tolerance, f"{where}.{at}")
    elif isinstance(one, float) and isinstance(other, float) and tolerance:
        if not math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance):
            yield Deviation(where, one, other)
    elif one != other:
        yield Deviation(where, one, other)
