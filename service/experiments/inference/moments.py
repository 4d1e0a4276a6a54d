"""What statistics need of units, and nothing more: means and products of an outcome, a denominator and a covariate.

They add: of days, of segments, of batches. Every part is an array of any shape, so that thousands of arms are one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]
Index = int | slice | tuple[Any, ...] | NDArray[Any]
COLUMNS = 3
OUTCOME, DENOMINATOR, COVARIATE = range(COLUMNS)


class Moments(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Of arms of shape (...): `+` is of the units of both, by Chan, Golub and LeVeque (1983), equation 1.5, as sums of
    squares lose what large means leave.
    """

    units: Floats
    """(...)"""
    means: Floats
    """(..., 3): outcome, denominator (1 where the metric is no ratio), covariate (0 where there is none)."""
    products: Floats
    """(..., 3, 3): sums over units of products of deviations from the means."""

    def __add__(self, other: Moments) -> Moments:
        units = self.units + other.units
        share = np.divide(other.units, units, out=np.zeros(np.shape(units)), where=units > 0)
        apart = other.means - self.means
        between = apart[..., :, None] * apart[..., None, :] * (self.units * share)[..., None, None]
        return Moments(
            units=units,
            means=self.means + apart * share[..., None],
            products=self.products + other.products + between,
        )

    def __getitem__(self, at: Index) -> Moments:
        """Some of the arms."""
        return Moments(units=self.units[at], means=self.means[at], products=self.products[at])


def measure(outcome: ArrayLike, denominator: ArrayLike = 1.0, covariate: ArrayLike = 0.0) -> Moments:
    """Of units, the last axis of each."""
    values = np.stack(np.broadcast_arrays(*(np.asarray(each, float) for each in (outcome, denominator, covariate))), -1)
    units = np.full(values.shape[:-2], float(values.shape[-2]))
    means = values.mean(-2) if values.shape[-2] else np.zeros((*values.shape[:-2], COLUMNS))
    apart = values - means[..., None, :]
    return Moments(units=units, means=means, products=np.einsum("...ui,...uj->...ij", apart, apart))


def measure_groups(
    group: NDArray[Any],
    groups: int,
    outcome: ArrayLike,
    denominator: ArrayLike = 1.0,
    covariate: ArrayLike = 0.0,
) -> Moments:
    """Of shape (groups,): of units that belong to the group (0 <= group < groups) beside them."""
    columns = [np.broadcast_to(np.asarray(each, float), group.shape) for each in (outcome, denominator, covariate)]
    units = np.bincount(group, minlength=groups).astype(float)
    totals = np.stack([np.bincount(group, column, groups) for column in columns], -1)
    means = np.divide(totals, units[:, None], out=np.zeros(totals.shape), where=units[:, None] > 0)
    apart = [column - means[group, at] for at, column in enumerate(columns)]
    products = np.empty((groups, COLUMNS, COLUMNS))
    for row in range(COLUMNS):
        for column in range(row + 1):
            products[:, row, column] = np.bincount(group, apart[row] * apart[column], groups)
            products[:, column, row] = products[:, row, column]
    return Moments(units=units, means=means, products=products)


def count(units: ArrayLike, conversions: ArrayLike) -> Moments:
    """Of arms of which units and conversions are known, of any shape."""
    units, conversions = np.broadcast_arrays(np.asarray(units, float), np.asarray(conversions, float))
    return total(units, conversions, conversions)


def total(units: ArrayLike, sums: ArrayLike, squares: ArrayLike) -> Moments:
    """Of arms of which the outcome's sum and sum of squares are known, of any shape."""
    units, sums, squares = np.broadcast_arrays(*(np.asarray(each, float) for each in (units, sums, squares)))
    means = np.zeros((*units.shape, COLUMNS))
    means[..., OUTCOME] = np.divide(sums, units, out=np.zeros(units.shape), where=units > 0)
    means[..., DENOMINATOR] = units > 0
    products = np.zeros((*units.shape, COLUMNS, COLUMNS))
    products[..., OUTCOME, OUTCOME] = np.maximum(squares - units * means[..., OUTCOME] ** 2, 0.0)
    return Moments(units=units, means=means, products=products)


def stack(arms: Sequence[Moments]) -> Moments:
    """Several of the same shape as one, along a new last axis."""
    return Moments(
        units=np.stack([one.units for one in arms], -1),
        means=np.stack([one.means for one in arms], -2),
        products=np.stack([one.products for one in arms], -3),
    )


def add(parts: Moments, axis: int = 0) -> Moments:
    """All arms along an axis as one: days, segments, batches."""
    length = parts.units.shape[axis]
    if not length:
        raise ValueError("there is nothing to add")
    axis %= parts.units.ndim
    before = (slice(None),) * axis
    pieces = [parts[(*before, at)] for at in range(length)]
    while len(pieces) > 1:  # in pairs: as exact as sums get
        rest = [pieces[-1]] if len(pieces) % 2 else []
        pieces = [one + other for one, other in zip(pieces[::2], pieces[1::2], strict=False)] + rest
    return pieces[0]
