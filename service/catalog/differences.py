"""What one catalog says and another does not: entries added, removed, moved or changed, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.catalog.schema import Catalog

LISTS = {
    "placements": "placement",
    "candidates": "candidate",
    "groups": "group",
    "caps": "cap",
    "budgets": "budget",
    "experiments": "experiment",
    "flags": "flag",
}
"""Lists of entries with ids, and what an entry is called."""


class Field(msgspec.Struct, frozen=True):
    """A value that differs; None is one that is not said."""

    name: str
    before: Any
    after: Any


class Difference(msgspec.Struct, frozen=True):
    """An entry that differs; `what` is empty for what holds for the whole catalog."""

    kind: str
    """added, removed or changed."""
    what: str
    id: str
    fields: tuple[Field, ...] = ()


def compare(before: Catalog, after: Catalog) -> list[Difference]:
    """All differences, in the order of the document. Where an entry stands matters to candidates only as a whole."""
    old, new = _said(before), _said(after)
    found = []
    for name in dict.fromkeys([*old, *new]):
        if name in LISTS:
            found += list(_entries(LISTS[name], old.get(name, []), new.get(name, [])))
        elif name != "defaults" and (fields := tuple(_fields(old.get(name), new.get(name)))):
            found.append(Difference("changed", "", name, fields))
    return found


def _said(catalog: Catalog) -> dict[str, Any]:
    return catalog.model_dump(mode="json", by_alias=True)


def _entries(what: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[Difference]:
    old, new = {one["id"]: one for one in before}, {one["id"]: one for one in after}
    for name, entry in new.items():
        if name not in old:
            yield Difference("added", what, name)
        elif fields := tuple(_fields(old[name], entry)):
            yield Difference("changed", what, name, fields)
    for name in old:
        if name not in new:
            yield Difference("removed", what, name)
    common = [name for name in old if name in new]
    if common != [name for name in new if name in old]:
        yield Difference("changed", what, "", (Field("order", None, None),))


def _fields(before: Any, after: Any, name: str = "") -> Iterator[Field]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from _fields(before.get(key), after.get(key), f"{name}.{key}" if name else str(key))
    else:
        yield Field(name, before, after)
