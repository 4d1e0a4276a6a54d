"""Who asks for flags: the ids, and what is read of the customer for rules and for the unit of experiments."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from features import traits
from features.aggregates.columns import decode_blank, decode_rows
from features.aggregates.rows import LAYOUTS
from features.consent import PERSONALISATION, allows
from features.lifetimes import is_expired
from service.decisions.expressions import TRAITS
from service.decisions.identity import identify, seen_of
from service.decisions.store import UnreachableError
from service.decisions.variants import remember
from service.experiments.assignment import Units
from service.experiments.bots import is_bot
from service.experiments.flags.evaluation import Asking
from service.experiments.subjects import Subject

if TYPE_CHECKING:
    from features.aggregates.columns import Columns
    from service.catalog.compiled import Compiled
    from service.decisions.identity import Found
    from service.decisions.store import DecisionStore


class Ids(msgspec.Struct, frozen=True):
    """Who asks; one of them may be empty."""

    customer: str
    anonymous: str

    @property
    def all(self) -> list[str]:
        return list(dict.fromkeys(one for one in (self.customer, self.anonymous) if one))


async def ask(store: DecisionStore, compiled: Compiled, ids: Ids, context: dict[str, Any], seconds: float) -> Asking:
    """A customer who cannot be read within the seconds has no unit, and no features."""
    now = time.time_ns() // 1000
    consent = compiled.document.consent
    try:
        found: Found | None = await identify(store, ids.all, seconds, consent.tracking)
    except UnreachableError:
        found = None

    personalised = found is not None and allows(found.consent, PERSONALISATION, consent.personalisation)

    def open_row() -> Columns | None:
        if found is None or not personalised:
            return None
        layout, row = LAYOUTS["customer"], found.row
        if row is None or is_expired("customer", row.applied, now):
            return decode_blank(layout)
        return decode_rows(layout, [(row.numbers, row.ids)])

    context = _with_traits(context, found, consent.personalisation)
    features = remember(open_row, now, context, compiled.zone)
    seen = (seen_of(found.row), found.visited) if found is not None and personalised else (0, 0)
    units = Units("" if found is None else found.unit, ids.anonymous, *seen)
    return Asking(units=units, subject=Subject(now, context, features), bot=is_bot(context))


def _with_traits(context: dict[str, Any], found: Found | None, default: bool) -> dict[str, Any]:
    """With the customer's own traits below those that the context brings."""
    if found is None or not found.traits or not allows(found.consent, PERSONALISATION, default):
        return context
    brought = context.get(TRAITS)
    return context | {TRAITS: traits.values(found.traits) | (brought if isinstance(brought, dict) else {})}
