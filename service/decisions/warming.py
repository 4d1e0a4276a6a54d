"""Decisions made before the first request and before a new model serves: caches and the model are warm then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from features.events.occurrences import Item, Occurrence
from service.decisions.choose import choose
from service.decisions.question import Question
from service.decisions.record import answer
from service.decisions.schema import AskedPlacement
from service.experiments.bots import is_bot

if TYPE_CHECKING:
    from models.bundle import Bundle
    from service.decisions.frame import Frame

ROUNDS = 5


def warm_up(frame: Frame, bundle: Bundle | None) -> None:
    """Decide for every placement with `bundle` (or without one). Raises what a broken bundle raises."""
    is_bot({"userAgent": "warm-up"})
    compiled = frame.compiled
    now = time.time_ns() // 1000
    item = Item(compiled.candidates[0].id, int(compiled.ids[0]), int(compiled.categories[0]))
    for _ in range(ROUNDS):
        for placement in compiled.placements.values():
            question = Question(
                decision_id="warm-up",
                now=now,
                placements=[AskedPlacement(id=placement.id)],
                context={},
                flags={},
                state=None,
                occurrences=[Occurrence("Product Viewed", now / 1e6, (item,))],
                frame=frame,
                models={} if bundle is None else {placement.model: bundle},
                rung="model",
            )
            answer(question, choose(question), 0.0)
