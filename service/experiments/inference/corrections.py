"""Several comparisons at once: which of them still hold, and how wide their intervals have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from service.experiments.analysis import Correction
    from service.experiments.inference.moments import Floats


def correct(p: ArrayLike, method: Correction) -> Floats:
    """Adjusted p-values of one family (last axis). NaN takes part as 1 and stays NaN.

    `holm`: the chance of any false finding is at most alpha (Holm 1979). `benjamini-hochberg`: of the findings, at
    most alpha are false on average (Benjamini and Hochberg 1995). `none`: as they are.
    """
    given = np.asarray(p, float)
    if method == "none" or not given.shape[-1]:
        return given
    order = np.argsort(given, axis=-1)
    ranked = np.take_along_axis(np.nan_to_num(given, nan=1.0), order, -1)
    many = given.shape[-1]
    if method == "holm":
        ranked = np.maximum.accumulate(ranked * (many - np.arange(many)), -1)
    else:
        scaled = ranked * many / (np.arange(many) + 1)
        ranked = np.minimum.accumulate(scaled[..., ::-1], -1)[..., ::-1]
    adjusted = np.empty_like(ranked)
    np.put_along_axis(adjusted, order, np.minimum(ranked, 1.0), -1)
    found: Floats = np.where(np.isnan(given), np.nan, adjusted)
    return found


def interval_level(adjusted: ArrayLike, alpha: float, method: Correction) -> float:
    """The alpha of each interval of a family, so that intervals and findings agree.

    `holm`: alpha / m, intervals that hold together; a finding whose interval still touches 0 is bounded by 0 there
    (Guilbaud 2008, section 3). `benjamini-hochberg`: alpha x findings / m, so that of the intervals of findings alpha
    are wrong on average (Benjamini and Yekutieli 2005, definition 1).
    """
    given: NDArray[np.float64] = np.asarray(adjusted, float)
    many = max(given.size, 1)
    if method == "none":
        return alpha
    if method == "holm":
        return alpha / many
    return alpha * max(int((given <= alpha).sum()), 1) / many
