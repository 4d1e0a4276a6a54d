"""Dead letters on the terminal: counts by reason, the newest of them, and what became of those sent again."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from service.events.resending import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.events.resending import Entry, Resent

BEGINNING = 200
"""Characters of a payload that are shown."""
NONE = Text("No event waits in the dead letters.")


def render(entries: Sequence[Entry], limit: int) -> Group | Text:
    """`entries` newest first, of which `limit` are shown one by one."""
    if not entries:
        return NONE
    shown = entries[:limit]
    parts: list[Any] = [_counts("rejected", Counter(describe(letter.field, letter.reason) for _, letter in entries))]
    if shown:
        parts += [Text(""), _newest(shown, len(entries))]
    return Group(*parts)


def render_resent(resent: Resent) -> Group:
    refused = resent.refused.total()
    parts: list[Any] = [
        Text(f"accepted {resent.accepted:,}, there already {resent.duplicates:,}, refused again {refused:,}")
    ]
    if refused:
        parts += [Text(""), _counts("refused again", resent.refused)]
    return Group(*parts)


def as_json(entry: Entry) -> str:
    """One line; the payload as JSON where it is that."""
    name, letter = entry
    try:
        payload = msgspec.json.decode(letter.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        payload = letter.payload.decode(errors="replace")
    told = {
        "id": name,
        "received": _time(letter.received, "milliseconds"),
        "source": letter.source,
        "reason": letter.reason,
        "field": letter.field or None,
        "whole": letter.is_whole,
        "payload": payload,
    }
    return msgspec.json.encode(told).decode()


def _counts(title: str, counts: Counter[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("events", justify="right")
    table.add_column("reason")
    for reason, count in counts.most_common():
        table.add_row(f"{count:,}", Text(reason))
    return table


def _newest(entries: Sequence[Entry], total: int) -> Table:
    table = Table(title=f"the newest {len(entries):,} of {total:,}", title_justify="left")
    table.add_column("received (UTC)", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column("reason")
    table.add_column("payload", overflow="fold")
    for _, letter in entries:
        text = letter.payload[: BEGINNING + 1].decode(errors="replace")
        payload = Text(text if len(text) <= BEGINNING else f"{text[:BEGINNING]}…")
        reason = Text(describe(letter.field, letter.reason))
        table.add_row(_time(letter.received, "seconds"), letter.source, reason, payload)
    return table


def _time(received: int, precision: str) -> str:
    return datetime.fromtimestamp(received / 1e6, UTC).replace(tzinfo=None).isoformat(timespec=precision)
