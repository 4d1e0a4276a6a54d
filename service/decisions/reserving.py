"""Reading the ledger for a decision, and reserving what was chosen: lost once, the decision is made again with what the
ledger says now; lost twice, without all that is bounded. Dropping what was lost instead would bias the probabilities.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from features import ledger as contacts
from features.events.schema import Attention
from service import metrics
from service.decisions import ledger
from service.decisions.attention import period
from service.decisions.choose import choose, compete
from service.decisions.store import UnreachableError
from service.experiments.variation import Variation

if TYPE_CHECKING:
    from features.connection import Command
    from service.decisions.choose import Chosen
    from service.decisions.frame import Frame
    from service.decisions.identity import Found
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


class Inquiry(msgspec.Struct, frozen=True):
    """What is asked of the ledger together with the customer's row."""

    scopes: Sequence[str] | None
    """None: nothing."""
    ids: Sequence[str] = ()
    """Of the request, whose contacts are asked for."""
    stale: Sequence[str] = ()
    """Scopes whose counts were read too long ago."""
    commands: Sequence[Command] = ()


def inquire(shared: Shared, ids: Sequence[str], scopes: Sequence[str] | None) -> Inquiry:
    if scopes is None:
        return Inquiry(None)
    stale = shared.stale(scopes)
    keys = [*map(contacts.customer_key, ids), *map(contacts.shared_key, stale)]
    return Inquiry(scopes, ids, stale, [("HGETALL", key) for key in keys])


async def attend(store: DecisionStore, inquiry: Inquiry, found: Found, seconds: float) -> Attention:
    """What the ledger says of a customer, all ids together.

    A second round trip where the ids belong to another one than any of them. Raises UnreachableError.
    """
    if inquiry.scopes is None:
        return Attention()
    counted = found.beside[len(inquiry.ids) :]
    store.shared.keep(dict(zip(inquiry.stale, map(ledger.counts, counted), strict=True)))
    of = dict(zip(inquiry.ids, found.beside, strict=False))
    if found.customer not in of:
        [of[found.customer]] = await store.ask([("HGETALL", contacts.customer_key(found.customer))], seconds)
    customers = [found.customer, *(one for one in inquiry.ids if one not in found.chain)]
    first, *others = [ledger.read(of[one], store.shared.of(inquiry.scopes)) for one in customers]
    for other in others:  # of an id that nobody has joined yet
        earliest = {key: min(at, first.first.get(key, at)) for key, at in other.first.items()}
        first = msgspec.structs.replace(
            first, contacts=[*first.contacts, *other.contacts], first={**first.first, **earliest}
        )
    return first


Reserve = Callable[["Question", "Chosen", "list[str]", "list[str]", float], Awaitable[Sequence[Any]]]
"""Asks the ledger: (question, chosen, keys and arguments of RESERVE, seconds). Raises UnreachableError."""


async def secure(
    reserve: Reserve, shared: Shared, question: Question, chosen: Chosen, customer: str, due: float, spare: str
) -> tuple[Question, Chosen]:
    """The question and what is chosen once its claims are granted; `due` by time.perf_counter().

    `spare` is the decision's id if nobody knows whether the ledger was reached: the decision may stand in the log.
    """
    compiled = question.frame.compiled
    try:
        for _ in range(ATTEMPTS):
            claims, attention = chosen.claims, question.attention
            if not claims:
                return question, chosen
            keys, arguments = ledger.ask(compiled, customer, question.decision_id, claims, attention, question.now)
            answer = await reserve(question, chosen, keys, arguments, due - time.perf_counter())
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
        question = msgspec.structs.replace(question, decision_id=spare)
    question = msgspec.structs.replace(question, attention=last)
    return question, choose(question)
