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

SEEN, ROWS = "seen", "rows"
"""What the event keeps of a candidate for later imports: the time of its latest row (unshifted), and its rows."""
Candidate = dict[str, Any]
ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Not printable in YAML, or a line's end."""


def collect(connection: duckdb.DuckDBPyConnection, mapping: Candidates) -> list[Candidate]:
    """The candidates, each with the latest value known of every field."""
    fields = [name for name in ("title", "category", "price", "value") if getattr(mapping, name) is not None]
    usable = {"price": "AND isfinite(item_price) AND item_price >= 0", "value": "AND isfinite(item_value)"}
    latest = "".join(
        f", arg_max(item_{name}, ordinal) FILTER (WHERE item_{name} IS NOT NULL {usable.get(name, '')}) AS {name}"
        for name in fields
    )
    rows = connection.execute(
        f"""
        SELECT item_id, max(time), count(*){latest} FROM accepted WHERE length(item_id) <= 256 GROUP BY item_id
        """  # noqa: S608  # names from the list above
    ).fetchall()
    return [
        {"id": text, "kind": mapping.kind}
        | {name: value for name, value in zip(fields, values, strict=True) if value is not None}
        | {SEEN: seen, ROWS: count}
        for text, seen, count, *values in rows
    ]


def merge(earlier: Sequence[Candidate], found: Sequence[Candidate]) -> list[Candidate]:
    """Of a candidate in both, what was seen later; most rows (of any one import) first, in whatever order they came."""
    merged = {candidate["id"]: candidate for candidate in earlier}
    for candidate in found:
        before = merged.get(candidate["id"], candidate)
        latest = before if before[SEEN] > candidate[SEEN] else candidate
        merged[candidate["id"]] = latest | {ROWS: max(before[ROWS], candidate[ROWS])}
    return sorted(merged.values(), key=lambda candidate: (-candidate[ROWS], candidate["id"]))


def publish(candidates: Sequence[Candidate], number: int) -> CatalogPublished:
    """The event by which attributes join imported history: the first at its very beginning, later ones behind it."""
    version = hashlib.blake2b(msgspec.json.encode(candidates), digest_size=8).hexdigest()
    return CatalogPublished(
        message_id=f"catalog-{version}",
        customer="",
        time=number,
        received=number,
        version=version,
        candidates=list(candidates),
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
        members = [f"{name}: {_scalar(value)}" for name, value in candidate.items() if name not in (SEEN, ROWS)]
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
