"""Reading the ledger for a decision, and reserving what was chosen: lost once, the decision is made again with what the
ledger says now; lost twice, without all that is bounded. Dropping what was lost instead would bias the probabilities.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from features import ledger as contacts
from service import metrics
from service.decisions import ledger
from service.decisions.attention import period
from service.decisions.choose import choose, compete
from service.decisions.store import UnreachableError
from service.experiments.variation import Variation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.events.schema import Attention
    from service.decisions.choose import Chosen
    from service.decisions.frame import Frame
    from service.decisions.pools import Pool
    from service.decisions.question import Question
    from service.decisions.schema import AskedPlacement
    from service.decisions.shared import Shared
    from service.decisions.store import DecisionStore

ATTEMPTS = 2


def scopes_of(frame: Frame, placements: Sequence[AskedPlacement], now: int) -> list[str] | None:
    """The shared scopes that bound what was asked for; None if nothing does, the customer's own caps neither."""
    pools = [pool for asked in placements for pool in _pools(frame, asked)]
    if not any(pool.is_bounded for pool in pools):
        return None
    return list(dict.fromkeys(period(bound, now) for pool in pools for bound in pool.bounds if bound.scope))


def _pools(frame: Frame, asked: AskedPlacement) -> list[Pool]:
    """Whatever pool the variants in force may give a placement: they are not known yet."""
    pool, _ = compete(frame, Variation(placement=frame.compiled.placements[asked.id]), asked)
    if asked.candidates is not None:
        return [pool]
    return [pool, *(varied for (_, _, name), varied in frame.varied.items() if name == asked.id)]


async def read_attention(
    store: DecisionStore, shared: Shared, customers: Sequence[str], scopes: Sequence[str], seconds: float
) -> Attention:
    """What the ledger says of the ids of one customer. Raises UnreachableError."""
    stale = shared.stale(scopes)
    keys = [*map(contacts.customer_key, customers), *map(contacts.shared_key, stale)]
    found = await store.ask([("HGETALL", key) for key in keys], seconds)
    own, counted = found[: len(customers)], found[len(customers) :]
    shared.keep(dict(zip(stale, map(ledger.counts, counted), strict=True)))
    first, *others = [ledger.read(fields, shared.of(scopes)) for fields in own]
    for other in others:  # of an id that nobody has joined yet
        earliest = {key: min(at, first.first.get(key, at)) for key, at in other.first.items()}
        first = msgspec.structs.replace(
            first, contacts=[*first.contacts, *other.contacts], first={**first.first, **earliest}
        )
    return first


async def secure(
    store: DecisionStore, shared: Shared, question: Question, chosen: Chosen, customer: str, due: float
) -> tuple[Question, Chosen]:
    """The question and what is chosen once its claims are granted; `due` by time.perf_counter()."""
    compiled = question.frame.compiled
    try:
        for _ in range(ATTEMPTS):
            claims, attention = chosen.claims, question.attention
            if not claims:
                return question, chosen
            asked = ledger.ask(compiled, customer, question.decision_id, claims, attention, question.now)
            answer = await store.run(contacts.RESERVE, *asked, due - time.perf_counter())
            fresh = ledger.answered(attention, claims, answer)
            if fresh is None:
                metrics.CLAIMS.labels("granted").inc(len(claims))
                return question, chosen
            metrics.CLAIMS.labels("lost").inc(len(claims))
            shared.keep(fresh.used)
            question = msgspec.structs.replace(question, attention=fresh)
            chosen = choose(question)
        if not chosen.claims:
            return question, chosen
        metrics.CLAIMS.labels("contended").inc()
        last = msgspec.structs.replace(question.attention, contended=True)
    except UnreachableError:
        metrics.CLAIMS.labels("unreachable").inc()
        last = msgspec.structs.replace(question.attention, is_known=False)
    question = msgspec.structs.replace(question, attention=last)
    return question, choose(question)
