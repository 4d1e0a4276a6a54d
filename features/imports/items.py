"""The items of the accepted rows as candidates, and the catalog document that serves them."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from features.events.schema import CatalogPublished

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from features.imports.mapping import Candidates

SEEN = "seen"
"""When a candidate's values were read from: the time of its latest row, unshifted."""
Candidate = dict[str, Any]
ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Not printable in YAML, or a line's end."""


def collect(connection: duckdb.DuckDBPyConnection, mapping: Candidates) -> list[Candidate]:
    """The candidates, most seen first, each with the latest value known of every field."""
    fields = [name for name in ("title", "category", "price", "value") if getattr(mapping, name) is not None]
    usable = {"price": "AND isfinite(item_price) AND item_price >= 0", "value": "AND isfinite(item_value)"}
    latest = "".join(
        f", arg_max(item_{name}, ordinal) FILTER (WHERE item_{name} IS NOT NULL {usable.get(name, '')}) AS {name}"
        for name in fields
    )
    rows = connection.execute(
        f"""
        SELECT item_id, max(time){latest} FROM accepted WHERE length(item_id) <= 256
        GROUP BY item_id ORDER BY count(*) DESC, item_id
        """  # noqa: S608  # names from the list above
    ).fetchall()
    return [
        {"id": text, "kind": mapping.kind}
        | {name: value for name, value in zip(fields, values, strict=True) if value is not None}
        | {SEEN: seen}
        for text, seen, *values in rows
    ]


def merge(earlier: Sequence[Candidate], found: Sequence[Candidate]) -> list[Candidate]:
    """What was found, then what only earlier imports knew; of a candidate in both, the one seen later."""
    known = {candidate["id"]: candidate for candidate in earlier}
    merged = [
        before if (before := known.pop(candidate["id"], None)) and before[SEEN] > candidate[SEEN] else candidate
        for candidate in found
    ]
    return [*merged, *known.values()]


def publish(candidates: Sequence[Candidate], number: int) -> CatalogPublished:
    """The event by which attributes join imported history: the first at its very beginning, later ones behind it."""
    ordered = sorted(candidates, key=lambda candidate: str(candidate["id"]))
    version = hashlib.blake2b(msgspec.json.encode(ordered), digest_size=8).hexdigest()
    return CatalogPublished(
        message_id=f"catalog-{version}", customer="", time=number, received=number, version=version, candidates=ordered
    )


def write_document(candidates: Sequence[Candidate], mapping: Candidates, time_zone: str) -> str:
    """The catalog as YAML: one placement, whose default is the first candidate, and a line a candidate."""
    placement = mapping.placement
    lines = [
        f"currency: {mapping.currency}",
        f"time_zone: {time_zone}",
        "",
        "placements:",
        f"  - id: {_scalar(placement.id)}",
        f"    limit: {placement.limit}",
        f"    default: {_scalar(candidates[0]['id'])}",
        f"    shortlist: {placement.shortlist}",
        "",
        "candidates:",
    ]
    for candidate in candidates:
        members = [f"{name}: {_scalar(value)}" for name, value in candidate.items() if name != SEEN]
        lines.append(f"  - {{{', '.join(members)}}}")
    return "\n".join([*lines, ""])


def _scalar(value: str | float) -> str:
    """A value in YAML: text as JSON writes it, which YAML reads, with escapes for what YAML takes only escaped.

    PyYAML's own writer needs seconds for some thousand candidates.
    """
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    text = repr(value)
    return text if "e" not in text else f"{value:.15f}"  # YAML 1.1 takes 1e-07 for a text
