"""Parts of a randomised test: the effect in each, where it differs from elsewhere, and whether treatment was random."""

from __future__ import annotations

from itertools import pairwise
from math import erfc, sqrt
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.uplift import REACH, Effect, UpliftError, measure_effect

if TYPE_CHECKING:
    from training.labels import Flags, Floats

GROUPS = 5
MOST_VALUES, BANDS = 12, 3
SIGNIFICANCE, SUSPICION = 0.05, 0.001
"""Of a difference between groups, and of a treatment that was not drawn at random; both for all groups together."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """n units of a randomised test."""

    units: list[str]
    matrix: Floats
    """(n, features); of categories their place in `categories`, NaN for missing."""
    names: list[str]
    categories: dict[str, list[str]]
    """Of each feature that is none of numbers, its values."""
    treated: Flags
    outcome: Floats


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Units that have something in common."""

    name: str
    effect: Effect
    elsewhere: Effect | None = None
    """Of all others."""
    differs: bool = False
    """Whether effects inside and outside differ by more than chance, with as many groups looked at."""
    predicted: float = np.nan


def rank(trial: Trial, score: Floats) -> list[Group]:
    """Groups of equal size by predicted effect."""
    order = np.argsort(-score, kind="stable")
    groups = []
    for at, rows in enumerate(np.array_split(order, GROUPS)):
        name = f"{100 * at // GROUPS} to {100 * (at + 1) // GROUPS} %"
        try:
            effect = measure_effect(trial.outcome[rows], trial.treated[rows])
        except UpliftError:
            continue
        groups.append(Group(name=name, effect=effect, predicted=float(score[rows].mean())))
    return groups


def slice_features(trial: Trial) -> list[tuple[str, Flags]]:
    """Each feature's values, or bands of its numbers, with the units that have them."""
    found: list[tuple[str, Flags]] = []
    for at, name in enumerate(trial.names):
        column = trial.matrix[:, at]
        known = np.unique(column[~np.isnan(column)])
        if name in trial.categories or len(known) <= BANDS:
            values = known[np.argsort([-np.count_nonzero(column == value) for value in known], kind="stable")]
            labels = trial.categories.get(name)
            found += [
                (f"{name} = {labels[int(value)] if labels else f'{value:g}'}", column == value)
                for value in values[:MOST_VALUES]
            ]
            continue
        edges = np.unique(np.nanquantile(column, np.linspace(0.0, 1.0, BANDS + 1)))
        for low, high in pairwise(edges):
            last = high == edges[-1]
            inside = (column >= low) & ((column <= high) if last else (column < high))
            found.append((f"{name} {low:g} to {high:g}", inside))
    return found


def compare(trial: Trial, slices: list[tuple[str, Flags]]) -> list[Group]:
    """Effects inside and outside of each, by how surely they differ; Holm's correction (Holm 1979) over all."""
    groups: list[tuple[float, Group]] = []
    for name, inside in slices:
        try:
            here = measure_effect(trial.outcome[inside], trial.treated[inside])
            there = measure_effect(trial.outcome[~inside], trial.treated[~inside])
        except UpliftError:
            continue
        error = sqrt(_error(here) ** 2 + _error(there) ** 2)
        surprise = erfc(abs(here.value - there.value) / max(error, 1e-300) / sqrt(2.0)) if error else 1.0
        groups.append((surprise, Group(name=name, effect=here, elsewhere=there)))
    groups.sort(key=lambda it: it[0])
    found, still = [], True
    for at, (surprise, group) in enumerate(groups):
        still = still and surprise * (len(groups) - at) <= SIGNIFICANCE
        found.append(msgspec.structs.replace(group, differs=still))
    return found


def _error(effect: Effect) -> float:
    return (effect.high - effect.low) / 2.0 / REACH


def suspect(trial: Trial, slices: list[tuple[str, Flags]]) -> str:
    """The group whose share of treated units is furthest from that of all, if chance would hardly make it so."""
    share = float(trial.treated.mean())
    worst, said = 1.0, ""
    for name, inside in slices:
        units = int(inside.sum())
        if not 0 < units < len(inside):
            continue
        here = float(trial.treated[inside].mean())
        error = sqrt(share * (1.0 - share) * (1.0 / units - 1.0 / len(inside)))
        surprise = erfc(abs(here - share) / error / sqrt(2.0)) * len(slices)
        if surprise < min(worst, SUSPICION):
            worst, said = surprise, f"{here:.1%} of those with {name} were treated, and {share:.1%} of all"
    return said
