"""A reward model for DM and DR where there is no better one: smoothed means, cross-fitted. Pure numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

FOLDS = 5
STRENGTH = 2.0
"""Rounds that a mean of the wider group counts as (additive smoothing towards it). Little: what it takes from the best
actions is DM's bias, which no interval shows: with 20 its intervals held the truth of a simulated world 90 times of
100, with 2 they do so 95 times."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What `Rounds` wants of a model."""

    expected: Floats
    """(n,) of what was picked."""
    target_expected: Floats
    """(n,) over what the target would pick."""


def expect(
    reward: Floats,
    context: Ints,
    action: Ints,
    policy: Floats,
    unit: Ints | None = None,
    folds: int = FOLDS,
    strength: float = STRENGTH,
) -> Expected:
    """Mean rewards by (context, action), drawn towards those by action, and these towards the mean of all.

    `context` (n,) and `action` (n,) count from 0; `policy` (contexts, actions) is the target's probability of each
    action. Each fold's means come from the other folds only (Chernozhukov et al. 2018, Double/debiased machine
    learning, definition 3.1), and a unit (n,) is in one fold: no round is expected from itself.
    """
    contexts, actions = policy.shape
    size = len(reward)
    fold = (np.arange(size) if unit is None else unit) % folds
    cell = (fold * contexts + context) * actions + action
    shape = (folds, contexts, actions)
    count = np.bincount(cell, minlength=folds * contexts * actions).reshape(shape).astype(np.float64)
    total = np.bincount(cell, reward, minlength=folds * contexts * actions).reshape(shape)
    count, total = count.sum(axis=0) - count, total.sum(axis=0) - total
    everything = total.sum(axis=(1, 2)) / np.maximum(count.sum(axis=(1, 2)), 1.0)
    by_action = _smooth(total.sum(axis=1), count.sum(axis=1), everything[:, None], strength)
    table = _smooth(total, count, by_action[:, None, :], strength)
    target = np.einsum("fca,ca->fc", table, policy)
    return Expected(expected=table[fold, context, action], target_expected=target[fold, context])


def _smooth(total: Floats, count: Floats, towards: Floats, strength: float) -> Floats:
    return (total + strength * towards) / (count + strength)
