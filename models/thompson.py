"""Thompson sampling for candidates with little evidence: what their propensity may be, drawn as often as it takes to
tell how likely each pick is. (Chapelle and Li, An Empirical Evaluation of Thompson Sampling, 2011, algorithm 2.)
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS = 32
"""Equally probable draws: a pick's chance is the share of those that rank it first."""
STRENGTH = 10.0
"""Exposures' worth of trust in a model's propensity of a candidate that nobody has seen."""
NARROWEST = 1e-6
"""From 0 and from 1: a Beta distribution has no parameter that is 0."""


def sample(seed: str, at: str, propensity: Floats, exposures: Floats, below: float) -> Floats | None:
    """(DRAWS, candidates) propensities, each drawn from Beta(p s, (1 - p) s) with s = STRENGTH + exposures.

    Those with `below` exposures or more keep theirs. None if all do. A function of the seed and the placement `at`.
    """
    unsure = exposures < below
    if not unsure.any():
        return None
    digest = hashlib.blake2b("\x1f".join((seed, at, "posterior")).encode(), digest_size=16).digest()
    chance = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    mean = np.clip(propensity[unsure], NARROWEST, 1.0 - NARROWEST)
    strength = STRENGTH + exposures[unsure]
    draws = np.repeat(propensity[None], DRAWS, 0)
    draws[:, unsure] = chance.beta(mean * strength, (1.0 - mean) * strength, (DRAWS, int(unsure.sum())))
    return draws
