"""Arbitration and exploration: from priorities to a slate with the probability of each pick. Pure.

A pick's selection probability is conditional on the picks above it and on the placements before; a slate's is the
product. Random draws are a hash of the decision's seed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Pick(msgspec.Struct, frozen=True):
    """One item of a slate: its place in the candidates, and the chance that the policy picked it there."""

    at: int
    selection_probability: float


def draw(seed: str, *place: str | int) -> float:
    """A uniform draw in [0, 1) that is a function of the seed and the place it is for."""
    text = "\x1f".join((seed, *map(str, place)))
    bits = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return (bits >> 11) / 2.0**53  # as many bits as a float holds: with more, the largest would round to 1


def prioritise(propensity: Floats, value: Floats, weight: Floats) -> Floats:
    """priority = propensity x value x weight; what is not finite sinks to the bottom."""
    priority = propensity * value * weight
    return np.where(np.isfinite(priority), priority, -np.inf)


def order(priority: Floats) -> list[int]:
    """Candidates from best to worst; equal ones in the catalog's order."""
    ranked: list[int] = np.argsort(-priority, kind="stable").tolist()
    return ranked


def pick(
    ranking: Sequence[int], legal: Sequence[bool], limit: int, exploration: float, seed: str, at: str
) -> list[Pick]:
    """A slate of at most `limit` of the legal candidates.

    At each rank the best legal one is taken, but with chance `exploration` one that is drawn uniformly from all that
    are still legal (epsilon-greedy; Sutton and Barto, Reinforcement Learning, 2nd ed., section 2.2). `ranking` lists
    candidates from best to worst, `at` names the placement.
    """
    left = [candidate for candidate in ranking if legal[candidate]]
    picks: list[Pick] = []
    while left and len(picks) < limit:
        rank = len(picks)
        chosen = 0
        if exploration > 0.0 and draw(seed, at, rank, "explore") < exploration:
            chosen = int(draw(seed, at, rank, "which") * len(left))
        probability = exploration / len(left) + (1.0 - exploration if chosen == 0 else 0.0)
        picks.append(Pick(left.pop(chosen), probability))
    return picks
