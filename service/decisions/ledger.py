"""What a decision asks of the ledger of attention, and what the ledger answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from features.events.schema import Attention
from features.ledger import HELD, PENDING, SEPARATOR, customer_key, reservation, shared_key
from service.decisions.attention import FIELDS, HOLD_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.catalog.compiled import Compiled
    from service.decisions.attention import Claim

REVISION, FIRST = b"revision", b"first:"
LEAST_SECONDS = 86_400
FIRST_SECONDS = 400 * 86_400
"""How long the first exposure of a candidate with a personal window is remembered, after the last change."""


def read(fields: Sequence[bytes], used: dict[str, dict[int, int]]) -> Attention:
    """The attention of a customer, of what HGETALL answered; and of all."""
    contacts, first, revision = [], {}, 0
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if name == REVISION:
            revision = int(value)
        elif name.startswith(FIRST):
            first[int(name[len(FIRST) :])] = int(value)
        else:
            contacts.append([int(part) for part in value.split(b",")[: len(FIELDS)]])
    return Attention(contacts=contacts, first=first, revision=revision, used=used)


def counts(fields: Sequence[bytes]) -> dict[int, int]:
    """Label -> count, of what HGETALL answered."""
    return {int(label): int(count) for label, count in zip(fields[::2], fields[1::2], strict=True)}


def ask(
    compiled: Compiled, customer: str, decision_id: str, claims: Sequence[Claim], attention: Attention, now: int
) -> tuple[list[str], list[str]]:
    """(keys, arguments) of RESERVE."""
    scopes = list(dict.fromkeys(scope for one in claims for scope, _, _ in one.shared))
    place = {scope: at for at, scope in enumerate(scopes, 4)}
    personal = any(one.contact is not None for one in claims)
    longest = max((limit.seconds or 0.0 for limit in compiled.limits), default=0.0)
    kept = max(longest, LEAST_SECONDS)
    asked: dict[str, Any] = {
        "now": now,
        "due": now + HOLD_SECONDS * 1_000_000,
        "since": int(now - kept * 1e6),
        "ttl": int(FIRST_SECONDS if any(one.is_first_kept for one in claims) or attention.first else kept),
        "personal": personal,
        "revision": str(attention.revision),
        "claims": [
            {
                "id": reservation(decision_id, one.placement, one.candidate),
                "contact": "" if one.contact is None else ",".join(map(str, [*one.contact, int(one.is_first_kept)])),
                "shared": [
                    [place[scope], str(label), limit, _kept(compiled, scope)] for scope, label, limit in one.shared
                ],
            }
            for one in claims
        ],
    }
    keys = [customer_key(customer), HELD, PENDING, *map(shared_key, scopes)]
    return keys, [msgspec.json.encode(asked).decode()]


def answered(attention: Attention, claims: Sequence[Claim], answer: Sequence[Any]) -> Attention | None:
    """None if all was reserved, else what the ledger says now."""
    if answer[0] == 1:
        return None
    scopes = list(dict.fromkeys(scope for one in claims for scope, _, _ in one.shared))
    fresh = dict(zip(scopes, map(counts, answer[2]), strict=True))
    return read(answer[1], {**attention.used, **fresh})


def _kept(compiled: Compiled, scope: str) -> int:
    """Seconds for which a shared count is kept; 0: for good."""
    name = scope.split("\x1e")[0].split(SEPARATOR)[0]
    seconds = next((limit.seconds for limit in compiled.limits if limit.id == name), None)
    return 0 if seconds is None else int(2 * seconds) + HOLD_SECONDS
