"""What a decision leaves behind: its reservations, its record in the log, and the answer that a retry gets again.

Reserving and logging are one round trip where there is nothing else to write; what Redis does not take is spilled.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from features import ledger, stream
from features.consent import TRACKING, allows
from features.events.schema import encode
from service import metrics
from service.decisions.explain import explain
from service.decisions.record import answer, record
from service.decisions.request import InvalidError, new_id
from service.decisions.reserving import secure
from service.decisions.store import StoredAnswer, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from features.events.schema import Decision
    from features.settings import Settings
    from service.decisions.choose import Chosen
    from service.decisions.gathering import Gathered
    from service.decisions.question import Question
    from service.decisions.request import Request
    from service.decisions.schema import DecisionAnswer
    from service.decisions.store import DecisionStore

    Express = Callable[[Question, Chosen, DecisionAnswer], bytes]

RESERVE_SHARE = 0.8
"""Of the deadline, until what is shown must be reserved."""
LEAST_APPEND_SECONDS = 0.003


class Commit:
    """One decision's way into Redis. `began` is when its request came, by time.perf_counter()."""

    def __init__(
        self,
        store: DecisionStore,
        settings: Settings,
        request: Request,
        gathered: Gathered,
        began: float,
        tracked: bool,
        express: Express,
    ) -> None:
        self._store, self._settings, self._request, self._gathered = store, settings, request, gathered
        self._began, self._express = began, express
        self._is_tracked = allows(gathered.consent, TRACKING, tracked)
        asked = request.asked
        self._is_joined = self._is_tracked and asked.decision_id is None and not (request.events or asked.explain)
        self._body: bytes | None = None

    async def write(self, question: Question, chosen: Chosen) -> tuple[Chosen, bytes]:
        """What is shown after all, once everything that bounds it is granted; and the body to answer.

        Raises InvalidError for a decision id that was used with another body at the same time.
        """
        if chosen.claims and not question.bot:  # whom nothing is counted for
            question, chosen = await self._secure(question, chosen)
        if self._body is not None:
            return chosen, self._body
        reply = answer(question, chosen, self._elapsed() * 1e3)
        due = self._request.seconds
        if self._request.asked.explain:
            explaining = time.perf_counter()
            reply = await explain(question, chosen, reply, self._settings.explain_deadline_ms / 1e3)
            due += time.perf_counter() - explaining  # it has a deadline of its own
        decision = self._record(question, chosen, reply)
        body = self._express(question, chosen, reply)
        if not self._is_tracked:
            metrics.EVENTS.labels("untracked").inc(1 + len(decision.events))
            return chosen, body
        left = max(due - self._elapsed(), LEAST_APPEND_SECONDS) if self._gathered.readable else 0.0
        return chosen, await self._append(decision, body, left)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    def _record(self, question: Question, chosen: Chosen, reply: DecisionAnswer) -> Decision:
        return record(question, chosen, reply, self._request.asked, self._gathered.customer, self._gathered.events)

    async def _secure(self, question: Question, chosen: Chosen) -> tuple[Question, Chosen]:
        due, request = self._began + self._request.seconds * RESERVE_SHARE, self._request
        # A decision that may stand in the log, though nobody heard of it, was not served: another one is.
        spare = new_id(question.now) if self._is_joined else request.decision_id
        return await secure(self._reserve, self._store.shared, question, chosen, self._gathered.customer, due, spare)

    async def _reserve(
        self, question: Question, chosen: Chosen, keys: list[str], arguments: list[str], seconds: float
    ) -> Sequence[Any]:
        """Reserve, and log the decision with it if that is granted and nothing else is to be written."""
        if not self._is_joined:
            reserved: Sequence[Any] = await self._store.run(ledger.RESERVE, keys, arguments, seconds)
            return reserved
        reply = answer(question, chosen, self._elapsed() * 1e3)
        decision = self._record(question, chosen, reply)
        place = stream.partition_of(decision.customer, self._settings.partitions)
        message = stream.Message(decision.message_id, encode(decision))
        reserved = await self._store.reserve_and_append(keys, arguments, place, message, seconds)
        if reserved[0] == 1:
            self._body = self._express(question, chosen, reply)
        return reserved

    async def _append(self, decision: Decision, body: bytes, seconds: float) -> bytes:
        """Append the decision and its inline events; spill them if Redis does not take them. The body to answer."""
        partitions, request, store = self._settings.partitions, self._request, self._store
        messages: dict[int, list[stream.Message]] = {}
        for event in (decision, *decision.events):
            place = stream.partition_of(event.customer, partitions)
            changed = "" if event is decision else event.customer
            messages.setdefault(place, []).append(stream.Message(event.message_id, encode(event), changed))
        home, *others = messages  # the decision's own partition comes first
        try:
            for place in others:  # events that join ids go to the id that is given up
                await store.append_decision(place, messages[place], seconds)
            if request.asked.decision_id is None:
                await store.append_decision(home, messages[home], seconds, ours=not request.may_be_resent)
                return body
            mine = StoredAnswer(request.fingerprint, body)
            asked = (request.partition, request.decision_id)
            kept = await store.append_once(home, messages[home], asked, mine, seconds)
            return same(kept, request)
        except UnreachableError:
            for message in (message for part in messages.values() for message in part):
                store.spill.keep(message.payload)
        return body


def say(question: Question, _chosen: Chosen, reply: DecisionAnswer) -> bytes:
    """The answer's JSON."""
    return msgspec.json.encode(_withhold(question, reply) if question.flags else reply)


def _withhold(question: Question, reply: DecisionAnswer) -> DecisionAnswer:
    """No chances where a variant was forced: nothing was left to chance. The log has those of the variant."""
    forced = [one for one in question.frame.compiled.document.experiments if one.id in question.flags]
    everywhere = any(one.placements is None for one in forced)
    concerned = {name for one in forced for name in one.placements or ()}
    placements = [
        replace(placement, items=[replace(item, selection_probability=None) for item in placement.items])
        if everywhere or placement.id in concerned
        else placement
        for placement in reply.placements
    ]
    return replace(reply, placements=placements)


def same(stored: StoredAnswer, request: Request) -> bytes:
    """The body of a stored answer. InvalidError (409) if it answered another request."""
    if stored.asked != request.fingerprint:
        raise InvalidError("decision_id", "this decision_id was used with another body within 15 minutes", 409)
    return stored.body
