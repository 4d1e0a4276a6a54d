"""The ledger, for many customers at once: read in one round trip, reserved in another. What an audience gives counts as
seen when it is to be sent: nobody takes a message back because it was not opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from features.events.schema import Attention
from features.ledger import BOOKS, CONFIRM, RESERVE, customer_key, reservation, shared_key
from service.audiences.foretelling import foretell
from service.decisions import ledger
from service.decisions.attention import period, spend
from service.decisions.choose import choose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.connection import Line
    from service.audiences.planning import Plan
    from service.audiences.selecting import Member, Selected
    from service.decisions.choose import Chosen
    from service.decisions.question import Question

ATTEMPTS = 2
Given = tuple["Question", "Chosen"]


async def attend(line: Line, plan: Plan, members: Sequence[Member]) -> list[Attention]:
    """What the ledger says of each. Raises redis.RedisError."""
    varied = [pool for (_, _, name), pool in plan.frame.varied.items() if name == plan.placement]
    competing = [plan.frame.pools[plan.placement], *varied]
    if not any(pool.is_bounded for pool in competing) or not members:
        return [Attention()] * len(members)
    scopes = list(dict.fromkeys(period(bound, plan.at) for pool in competing for bound in pool.bounds if bound.scope))
    keys = [*map(shared_key, scopes), *(customer_key(member.customer) for member in members)]
    found = await line.ask_all([("HGETALL", key) for key in keys])
    used = dict(zip(scopes, map(ledger.counts, found[: len(scopes)]), strict=True))
    return [ledger.read(fields, used) for fields in found[len(scopes) :]]


def decide(plan: Plan, selected: Selected, attentions: Sequence[Attention]) -> list[Given]:
    """Choose for one after the other, each as if those before had been granted what all share."""
    given = []
    used = attentions[0].used if attentions else {}
    foretold = foretell(plan, selected.members, selected.columns)
    for member, attention, told in zip(selected.members, attentions, foretold, strict=True):
        question = msgspec.structs.replace(
            member.question, attention=msgspec.structs.replace(attention, used=used), foretold=told
        )
        chosen = choose(question)
        if claims := chosen.claims:
            used = spend(Attention(used=used), claims).used
        given.append((question, chosen))
    return given


async def reserve(line: Line, plan: Plan, members: Sequence[Member], given: Sequence[Given], now: int) -> list[Given]:
    """With their claims granted: who lost what is chosen for again, and at last without all that is bounded.

    Raises redis.RedisError.
    """
    result = list(given)
    open_ = [at for at, (_, chosen) in enumerate(result) if chosen.claims]
    if open_:  # so that the batches know the scripts by name
        await line.ask_all([("SCRIPT", "LOAD", script.text) for script in (RESERVE, CONFIRM)])
    for attempt in range(ATTEMPTS + 1):
        lost = []
        for at, fresh in await _claim(line, plan, open_, members, result, now):
            contended = attempt == ATTEMPTS - 1
            question = msgspec.structs.replace(
                result[at][0], attention=msgspec.structs.replace(fresh, contended=contended)
            )
            result[at] = question, choose(question)
            if result[at][1].claims:
                lost.append(at)
        open_ = lost
        if not open_:
            break
    return result


async def _claim(
    line: Line, plan: Plan, places: Sequence[int], members: Sequence[Member], given: Sequence[Given], now: int
) -> list[tuple[int, Attention]]:
    """(place, what the ledger says now) of those who were not granted what they claim."""
    commands: list[tuple[Any, ...]] = []
    firsts = []
    for at in places:
        (question, chosen), member = given[at], members[at]
        claims = [
            msgspec.structs.replace(one, contact=None if one.contact is None else [member.send_at, *one.contact[1:]])
            for one in chosen.claims
        ]
        asked = ledger.ask(plan.frame.compiled, member.customer, question.decision_id, claims, question.attention, now)
        firsts.append(len(commands))
        commands.append(("EVALSHA", RESERVE.sha, len(asked[0]), *asked[0], *asked[1]))
        for one in claims:  # of what was not granted there is nothing to confirm
            key = reservation(question.decision_id, one.placement, one.candidate)
            keys = (customer_key(member.customer), *BOOKS)
            commands.append(("EVALSHA", CONFIRM.sha, len(keys), *keys, key, member.send_at))
    answers = await line.ask_all(commands) if commands else []
    found = []
    for at, first in zip(places, firsts, strict=True):
        question, chosen = given[at]
        fresh = ledger.answered(question.attention, chosen.claims, answers[first])
        if fresh is not None:
            found.append((at, fresh))
    return found
