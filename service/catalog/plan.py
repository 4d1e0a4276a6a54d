"""The plan of a publish as a terminal shows it: what changes in the catalog, and what that would have done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from service.catalog.differences import Difference
    from service.catalog.effects import Effect

STYLES = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
LONGEST, BESIDE = 60, 20
"""Characters of a value, and how many of them before those that differ."""
MOST = 200
"""Differences shown."""


def render(before: str, after: str, differences: list[Difference], effects: list[Effect], note: str) -> Group:
    """From version `before` to `after`; `note` says what the effects stand on."""
    if not differences:
        return Group(Text(f"Nothing changes: version {before} is live."))
    counts = {kind: sum(one.kind == kind for one in differences) for kind in STYLES}
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    parts: list[Any] = [Text(f"From version {before or 'none'} to {after}: {said}", style="bold")]
    for one in differences[:MOST]:
        sign, style = STYLES[one.kind]
        name = f"{one.what} {one.id}".strip()
        fields = "; ".join(f"{field.name} {' -> '.join(_show(field.before, field.after))}" for field in one.fields)
        if one.fields and one.fields[0].name == "order":
            name, fields = f"{one.what}s", "stand in another order"
        parts.append(Text(f"  {sign} {name}{': ' + fields if fields else ''}", style=style))
    if len(differences) > MOST:
        parts.append(Text(f"  and {len(differences) - MOST:,} more"))
    parts += [Text(""), Text(note)]
    if effects:
        parts.append(_table(effects))
    return Group(*parts)


def _table(effects: list[Effect]) -> Table:
    table = Table()
    table.add_column("placement", no_wrap=True)
    for heading in ("decisions", "other winner", "customers", "value before", "value after", "change"):
        table.add_column(heading, justify="right", no_wrap=" " not in heading)
    for effect in effects:
        change = (effect.after / effect.before - 1.0) if effect.before else None
        table.add_row(
            effect.placement,
            f"{effect.decisions:,}",
            f"{effect.changed:,} ({effect.changed / effect.decisions:.0%})",
            f"{len(effect.customers):,}",
            f"{effect.before:.4g}",
            f"{effect.after:.4g}",
            "-" if change is None else f"{change:+.1%}",
        )
    return table


def _show(before: Any, after: Any) -> tuple[str, str]:
    """Both as texts; of long ones the parts where they begin to differ.

    >>> _show("a" * 90 + "b", "a" * 90 + "c")
    ('…aaaaaaaaaaaaaaaaaaaab', '…aaaaaaaaaaaaaaaaaaaac')
    """
    told, again = _text(before), _text(after)
    differing = (at for at, (one, other) in enumerate(zip(told, again, strict=False)) if one != other)
    same = next(differing, min(len(told), len(again)))
    begin = same - BESIDE if max(len(told), len(again)) > LONGEST and same > BESIDE else 0
    return _cut(told, begin), _cut(again, begin)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str, begin: int) -> str:
    left = text[begin:]
    return ("…" if begin else "") + (left if len(left) <= LONGEST else f"{left[: LONGEST - 1]}…")
