"""Arbitration and exploration: from priorities to a slate with the probability of each pick. Pure.

A pick's selection probability is conditional on the picks above it and on the placements before; a slate's is the
product. Random draws are a hash of the decision's seed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

NOT_COUNTED = -1


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


class Constraint(Protocol):
    """What makes candidates illegal once others were picked."""

    def take(self, at: int, legal: Bools) -> None:
        """Candidate `at` was picked: strike out of `legal` (candidates,) who may not follow."""


class Quota(msgspec.Struct, frozen=True):
    """So many of each label may be picked."""

    labels: Ints
    """(candidates,) NOT_COUNTED for whom it does not count."""
    most: Ints
    """(candidates,) of the candidate's label."""
    left: dict[int, int]
    """Label -> how many may still be picked, where that is not `most`."""

    def exhausted(self) -> Bools | None:
        """(candidates,) whose label has nothing left; None if there is none."""
        over = [label for label, left in self.left.items() if left <= 0]
        if not over and self.most.min(initial=1) > 0:
            return None
        none: Bools = (self.labels != NOT_COUNTED) & ((self.most <= 0) | np.isin(self.labels, over))
        return none

    def take(self, at: int, legal: Bools) -> None:
        label = int(self.labels[at])
        if label != NOT_COUNTED:
            left = self.left[label] = self.left.get(label, int(self.most[at])) - 1
            if left <= 0:
                legal[self.labels == label] = False


class Conflict(msgspec.Struct, frozen=True):
    """Candidates that do not stand beside any of a group, and groups of which none stands beside them."""

    groups: Ints
    """(candidates,)"""
    against: dict[int, Bools]
    """Group -> (candidates,) who does not stand beside it."""

    def take(self, at: int, legal: Bools) -> None:
        avoiding = self.against.get(int(self.groups[at]))
        if avoiding is not None:
            legal[avoiding] = False
        for group, mask in self.against.items():
            if mask[at]:
                legal[self.groups == group] = False


class Exploration(msgspec.Struct, frozen=True, kw_only=True):
    """How a slate is explored."""

    share: float = 0.0
    """Chance at each rank that the pick is drawn uniformly from what is legal (epsilon-greedy; Sutton and Barto,
    Reinforcement Learning, 2nd ed., section 2.2)."""
    floor: float = 0.0
    """Least chance of each legal candidate at each rank: the share is raised until it is reached."""
    draws: Floats | None = None
    """(k, candidates) priorities, equally probable: the best of one of them is taken (Thompson sampling)."""

    def uniform(self, left: int) -> float:
        """The chance that a pick from so many is drawn uniformly."""
        return min(max(self.share, self.floor * left), 1.0)


def pick(
    ranking: Sequence[int] | Ints,
    legal: Sequence[bool] | Bools,
    limit: int,
    exploration: Exploration,
    seed: str,
    at: str,
    pinned: Sequence[int] = (),
    constraints: Sequence[Constraint] = (),
) -> list[Pick]:
    """A slate of at most `limit` of the legal candidates, the pinned ones first.

    At each rank the best legal one is taken, or what `exploration` says. `ranking` lists candidates from best to worst,
    `at` names the placement. What is legal after a pick is as the constraints say, so that each probability is that of
    the pick given those above it; every rank has random numbers of its own.
    """
    ranked, allowed = np.asarray(ranking, np.int64), np.array(legal, bool)
    picks: list[Pick] = []

    def take(candidate: int, probability: float) -> None:
        picks.append(Pick(candidate, probability))
        allowed[candidate] = False
        for constraint in constraints:
            constraint.take(candidate, allowed)

    for candidate in pinned:
        if len(picks) < limit and allowed[candidate]:
            take(candidate, 1.0)
    while len(picks) < limit and len(left := ranked[allowed[ranked]]):
        rank = len(picks)
        uniform = exploration.uniform(len(left))
        bests = left[:1].tolist() if exploration.draws is None else _bests(exploration.draws, left)
        if uniform > 0.0 and draw(seed, at, rank, "explore") < uniform:
            chosen = int(left[int(draw(seed, at, rank, "which") * len(left))])
        elif len(bests) == 1:
            chosen = bests[0]
        else:
            chosen = bests[int(draw(seed, at, rank, "draw") * len(bests))]
        greedy = bests.count(chosen) / len(bests)
        take(chosen, uniform / len(left) + (1.0 - uniform) * greedy)
    return picks


def _bests(draws: Floats, left: Ints) -> list[int]:
    """(k,) the best of those left by each draw; of equal ones the first in `left`."""
    best: list[int] = left[draws[:, left].argmax(axis=1)].tolist()
    return best
