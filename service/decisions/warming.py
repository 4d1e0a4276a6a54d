"""Decisions made before the first request and before a new model serves: caches and the model are warm then, and a
model that cannot decide is refused.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from features.events.occurrences import Item, Occurrence
from models.bundle import BundleError
from service.decisions.choose import choose
from service.decisions.question import Question
from service.decisions.record import answer
from service.decisions.schema import AskedPlacement
from service.experiments.bots import is_bot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

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


def rehearse(frame: Frame, bundle: Bundle, recorded: Iterable[Question]) -> None:
    """Score a candidate of which nothing is known, then make recorded decisions again as if every alias named `bundle`.

    Raises BundleError for a propensity that is no number, and whatever else a broken bundle raises.
    """
    unknown = {feature.name: np.full(1, np.nan) for feature in bundle.description.signature.features}
    _require_numbers(bundle, bundle.propensities(unknown))
    document = frame.compiled.document
    variants = (variant.model for experiment in document.experiments for variant in experiment.variants)
    models = {alias: bundle for alias in (*variants, *(each.model for each in document.placements)) if alias}
    for question in recorded:
        if any(asked.id not in frame.compiled.placements for asked in question.placements):
            continue  # recorded under another catalog
        again = msgspec.structs.replace(question, frame=frame, models=models)
        chosen = choose(again)
        answer(again, chosen, 0.0)
        for slate in chosen.slates:
            if slate.bundle is not None and slate.propensity is not None:
                _require_numbers(bundle, slate.propensity)


def _require_numbers(bundle: Bundle, propensity: NDArray[np.float64]) -> None:
    if not np.isfinite(propensity).all():
        raise BundleError(f"{bundle.label} gives propensities that are no numbers")
