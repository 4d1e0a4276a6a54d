"""What a reward is worth: as the catalog says, or as the model expects where the placement leaves it to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from service import metrics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.bundle import Bundle
    from service.catalog.schema import Placement
    from service.decisions.eligibility import Screened
    from service.decisions.question import Question

    Floats = NDArray[np.float64]

MODEL = "model"
"""As a placement's `value_from`."""


def revalue(
    question: Question, placement: Placement, bundle: Bundle, features: dict[str, Floats], screened: Screened
) -> Screened:
    """With the model's values over the pool; the catalog's stay where the placement has these or the model has none."""
    if placement.value_from != MODEL:
        return screened
    value = bundle.values(features) if question.foretold is None else question.foretold.value
    if value is None:
        metrics.UNVALUED.inc()
        return screened
    return msgspec.structs.replace(screened, value=value)
