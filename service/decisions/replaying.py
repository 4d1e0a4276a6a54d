"""Logged decisions made again: as they were, or by another catalog or model, over the customers' states as logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features import archive
from features.aggregates.rows import LAYOUTS
from features.events.occurrences import read
from features.events.schema import Attention, Decision, decode
from features.store import Packed
from service.decisions.choose import Chosen, choose
from service.decisions.question import Question
from service.decisions.record import answer, record
from service.decisions.schema import AskedPlacement, DecisionRequest
from service.experiments.variation import vary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from features.home import Home
    from models.bundle import Bundle
    from service.decisions.frame import Frame


def load_logged(home: Home, since: int, most: int) -> list[Decision]:
    """Archived decisions that arrived since `since` (microseconds): the newest `most`, in order."""
    table = archive.read(home.archive, ["arrival", "payload"], types=["decision"], since=since)
    payloads = table["payload"].to_pylist()[-most:]
    return [event for payload in payloads if isinstance(event := decode(payload), Decision)]


def is_replayable(logged: Decision) -> bool:
    """Whether its state is laid out as this program reads states."""
    return logged.state is None or logged.state.layout == LAYOUTS["customer"].version


def ask_again(logged: Decision, frame: Frame, models: Mapping[str, Bundle]) -> Question:
    """The question of a logged decision over another frame; placements and variants that this has not are left out."""
    compiled = frame.compiled
    state = None
    if logged.state is not None:
        numbers, ids = np.frombuffer(logged.state.numbers), np.frombuffer(logged.state.ids, np.int64)
        state = Packed(logged.state.applied, numbers, ids)
    personalised = logged.personalised
    return Question(
        decision_id=logged.seed,
        now=logged.time,
        placements=[
            AskedPlacement(id=slot.id, limit=slot.limit, candidates=slot.candidates)
            for slot in logged.placements
            if slot.id in compiled.placements
        ],
        context=logged.context,
        flags={
            name: variant
            for name in logged.forced
            if (variant := logged.variants.get(name, "")) in compiled.variants.get(name, {})
        },
        unit=logged.unit,
        anonymous=logged.anonymous_id or "",
        visited=logged.visited,
        bot=logged.bot,
        state=state,
        traits=logged.traits,
        occurrences=[seen for event in logged.events if personalised and (seen := read(event)) is not None],
        frame=frame,
        models=models,
        personalised=personalised,
        attention=logged.attention or Attention(),
        is_readable=logged.readable,
        sent=bool(logged.audience),
        late=frozenset(logged.late),
        rung="model" if logged.readable else "prior",
    )


def choose_again(logged: Decision, frame: Frame, models: Mapping[str, Bundle]) -> Chosen | None:
    """What would be chosen; None if no placement of the decision is left."""
    question = ask_again(logged, frame, models)
    return choose(question) if question.placements else None


def record_again(logged: Decision, frame: Frame, models: Mapping[str, Bundle]) -> Decision:
    """The whole record of the decision made again: that of `logged` where all it was made with is the same."""
    question = ask_again(logged, frame, models)
    chosen = choose(question)
    asked = DecisionRequest(
        placements=question.placements, customer_id=logged.user_id, anonymous_id=logged.anonymous_id
    )
    reply = answer(question, chosen, 0.0)
    silent = {slot.id for slot in logged.placements if not slot.items}  # an audience sends nobody a default
    placements = [
        msgspec.structs.replace(placement, items=[]) if slate.fell_back and placement.id in silent else placement
        for slate, placement in zip(chosen.slates, reply.placements, strict=True)
    ]
    reply = msgspec.structs.replace(reply, placements=placements)
    again = record(question, chosen, reply, asked, logged.customer, logged.events)
    # An audience is logged before it is sent; and how long it took is not made again.
    return msgspec.structs.replace(again, received=logged.received, audience=logged.audience, took=logged.took)


def models_of(logged: Decision, frame: Frame, load: Callable[[str], Bundle]) -> dict[str, Bundle]:
    """Alias -> the model that it named then, as far as the decision used it; `load` takes `name/version`."""
    found: dict[str, Bundle] = {}
    for slot in logged.placements:
        if slot.id not in frame.compiled.placements:
            continue
        used = [({slot.interleaved: variant}, label) for variant, label in slot.models.items()]
        used = used or ([] if slot.model is None else [({}, slot.model)])
        for own, label in used:
            found[vary(frame.compiled, slot.id, {**logged.variants, **own}).placement.model] = load(label)
    return found
