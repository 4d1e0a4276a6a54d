"""What is left of a document whose shape is wrong here and there, so that what no shape can tell is told as well."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from features.documents import Place

SECTIONS: dict[str, dict[str, Any]] = {
    "candidates": {},
    "placements": {"default": "?"},
    "groups": {},
    "caps": {"per": ["customer"], "limit": 1, "period": "1d"},
    "budgets": {"limit": 1},
    "experiments": {"variants": [{"id": "a"}, {"id": "b"}]},
    "flags": {"variants": {"on": True, "off": False}, "default": "off"},
}
"""Lists of entries; what stands in for a field beside the id that an entry cannot be without."""
WORDS = ("content", "fallback", "content_for")
"""Fields of a candidate that are judged together."""
WHOLE = ("experiments", "flags")
"""Entries of which all fields are judged together."""


def salvage(content: dict[str, Any], places: Iterable[Place]) -> dict[str, Any]:
    """A copy without the fields in which something is wrong; positions stay."""
    left = copy.deepcopy(content)
    for part in sorted({part for place in places for part in _parts(place)}, key=len, reverse=True):
        section, at, field = [*part, None, None][:3]
        if at is None:
            left.pop(section, None)
            continue
        entry, needed = left[section][at], SECTIONS[section]
        if field is None or not isinstance(entry, dict):
            left[section][at] = {"id": f"?{section}{at}", **needed}
            continue
        entry.pop(field, None)
        if field == "id":
            entry["id"] = f"?{section}{at}"
        elif field in needed:
            entry[field] = needed[field]
    return left


class Shadow:
    """Where something else may only seem to be wrong, because of what is wrong at these places."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._parts = {part[:2] if _is_name(part) else part for place in places for part in _parts(place)}
        self._above = {part[:length] for part in self._parts for length in range(1, len(part) + 1)}

    def covers(self, place: Place) -> bool:
        return any(
            part in self._above or any(part[:length] in self._parts for length in range(1, len(part)))
            for part in _parts(place)
        )


def _is_name(part: tuple[Any, ...]) -> bool:
    """Whether candidates go by it: what a placement without one does with its candidates, nobody can tell."""
    return part[0] == "placements" and part[2:] == ("id",)


def _parts(place: Place) -> Iterator[tuple[Any, ...]]:
    """What is judged as a whole at a place: a field of an entry, an entry, or something that is in no list."""
    section = place[0] if place else ""
    if len(place) < 2 or section not in SECTIONS or not isinstance(place[1], int):
        yield (section,)
    elif len(place) == 2 or section in WHOLE:
        yield place[:2]
    elif section == "candidates" and place[2] in WORDS:
        yield from ((*place[:2], name) for name in WORDS)
    else:
        yield place[:3]
