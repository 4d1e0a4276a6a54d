"""What was logged, as the estimators take it: picks with rewards and importance weights, slate by slate. Pure numpy.

Refuses probabilities that are none, because every estimate would follow them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class OffPolicyError(ValueError):
    """A log from which nothing can be valued; the message says why."""


class Rounds(msgspec.Struct, frozen=True, kw_only=True):
    """n picks in s slates, by slate and then by rank. A page with one pick is a slate of one."""

    slate: Ints
    """(n,) which slate, 0 .. s - 1, ascending."""
    rank: Ints
    """(n,) its place in the slate, from 0."""
    reward: Floats
    """(n,)"""
    weight: Floats
    """(n,) the target's chance of the pick and of all picks above it, over the logging policy's."""
    above: Floats
    """(n,) the same of the picks above only: 1 at rank 0."""
    unit: Ints
    """(s,) whose slate it is: slates of one unit are not independent."""
    uncovered: float = 0.0
    """Share of what the target would pick that the logging policy is known never to have picked."""
    expected: Floats | None = None
    """(n,) a model's reward of the pick."""
    target_expected: Floats | None = None
    """(n,) the model's mean reward over what the target would pick there, given the picks above."""

    @property
    def slates(self) -> int:
        return len(self.unit)


def cumulate(ratio: Floats, slate: Ints) -> tuple[Floats, Floats]:
    """(weight, above) of each pick from the ratio of its conditional probabilities, (n,) in order of slate and rank.

    What is logged of a slate's picks is each one's chance given those above it, so that the chance of the picks down to
    a rank is the product. A reward at a rank is weighted by the picks down to it and no further: unbiased where a
    reward does not depend on what stands below (McInerney et al. 2020, Counterfactual evaluation of slate
    recommendations with sequential reward interactions, section 3.2).
    """
    weight, above = np.empty(len(ratio)), np.ones(len(ratio))
    first = np.searchsorted(slate, slate)
    rank = np.arange(len(slate)) - first
    for depth in range(int(rank.max(initial=-1)) + 1):
        here = np.flatnonzero(rank == depth)
        if depth:
            above[here] = weight[here - 1]
        weight[here] = above[here] * ratio[here]
    return weight, above


def gather(
    reward: Floats,
    logged: Floats,
    target: Floats,
    slate: Ints | None = None,
    unit: Ints | None = None,
    expected: Floats | None = None,
    target_expected: Floats | None = None,
    uncovered: float = 0.0,
) -> Rounds:
    """Rounds of n picks: rewards, and the probability of each pick (given those above it) under both policies.

    `slate` (n,) says which picks stood together, neighbours and from above to below; without it each stood alone.
    `unit` (n,) says whose they are; without it each slate is its own. Raises OffPolicyError.
    """
    size = len(reward)
    if not size:
        raise OffPolicyError("there is nothing in the log")
    for name, values in (("reward", reward), ("logged", logged), ("target", target)):
        if len(values) != size:
            raise OffPolicyError(f"{len(values)} values of {name} for {size} rewards")
        if not np.isfinite(values).all():
            raise OffPolicyError(f"{int((~np.isfinite(values)).sum())} of {size} values of {name} are not numbers")
    if ((logged <= 0.0) | (logged > 1.0 + 1e-9)).any():
        wrong = int(((logged <= 0.0) | (logged > 1.0 + 1e-9)).sum())
        raise OffPolicyError(f"{wrong} of {size} logged probabilities do not lie above 0 and up to 1")
    if ((target < 0.0) | (target > 1.0 + 1e-9)).any():
        raise OffPolicyError("probabilities of the target policy lie between 0 and 1")
    slate = np.arange(size) if slate is None else slate
    if (np.diff(slate) < 0).any():
        raise OffPolicyError("the picks of a slate stand together: order them by slate and rank")
    _, first, number = np.unique(slate, return_index=True, return_inverse=True)
    weight, above = cumulate(target / logged, number)
    return Rounds(
        slate=number,
        rank=np.arange(size) - first[number],
        reward=reward,
        weight=weight,
        above=above,
        unit=np.arange(len(first)) if unit is None else np.unique(unit[first], return_inverse=True)[1],
        uncovered=uncovered,
        expected=expected,
        target_expected=target_expected,
    )
