"""Tests that were run elsewhere, from a table of counts: the same statistics over thousands of experiments at once.

Columns: experiment, arm, units, conversions; or sum and sum_of_squares of an amount; and share, of what was meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.experiments.inference import corrections, differences, estimates, mismatch, moments
from service.experiments.reports import screening

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from service.experiments.analysis import Correction
    from service.experiments.reports.screening import LeftOut

NEEDED = ("experiment", "arm", "units")
AMOUNTS = ("sum", "sum_of_squares")


class CountsError(ValueError):
    """A table that cannot be read; the message says where."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Of e experiments with at most a arms each; those that are not `present` are padding."""

    names: list[str]
    labels: list[str]
    """Of each experiment, what the column that it is grouped by says."""
    arms: list[list[str]]
    present: NDArray[np.bool_]
    """(e, a)"""
    units: NDArray[np.float64]
    shares: NDArray[np.float64]
    measured: moments.Moments
    """(e, a)"""
    left_out: list[LeftOut]
    """Experiments that cannot be read."""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Of e experiments; the first arm of each is the control."""

    mismatch: NDArray[np.float64]
    """(e,) p"""
    value: NDArray[np.float64]
    """(e, a) of each arm"""
    difference: differences.Difference
    """(e, a - 1) of the others from the first"""
    adjusted: NDArray[np.float64]
    """(e, a - 1) p, corrected within each experiment"""

    @property
    def alarms(self) -> NDArray[np.bool_]:
        """(e,) experiments whose units did not come as meant: what they say is not to be believed."""
        found: NDArray[np.bool_] = self.mismatch < mismatch.ALARM
        return found


def read(path: Path, by: str | None = None) -> Counts:
    """A CSV or Parquet file; rows of an experiment need not be together. Raises CountsError where no experiment of it
    can be read.
    """
    table = _open(path)
    for name in (*NEEDED, *([by] if by else [])):
        if name not in table.column_names:
            raise CountsError(f"{path}: there is no column {name!r}; it has: {', '.join(table.column_names)}")
    if "conversions" not in table.column_names and not set(AMOUNTS) <= set(table.column_names):
        raise CountsError(f"{path}: `conversions` are needed, or both `sum` and `sum_of_squares`")
    if not len(table):
        raise CountsError(f"{path} has no rows")
    screened = screening.screen(table)
    if not screened.names:
        first = screened.left_out[0]
        raise CountsError(f"{path}:{first.line}: {first.reason}")
    names = pa.array(screened.names, pa.string()).dictionary_encode()
    row = np.asarray(names.indices.to_numpy(), np.int64)
    order = np.argsort(row, kind="stable")
    starts = np.searchsorted(row[order], np.arange(len(names.dictionary)))
    column = np.empty(len(row), np.int64)
    column[order] = np.arange(len(row)) - starts[row[order]]
    shape = len(names.dictionary), int(column.max()) + 1

    def lay(name: str) -> NDArray[np.float64]:
        grid = np.zeros(shape)
        grid[row, column] = screened.numbers[name]
        return grid

    present = np.zeros(shape, np.bool_)
    present[row, column] = True
    labels = pc.cast(table[by], pa.string()).take(pa.array(screened.rows)).to_pylist() if by else [""] * len(row)
    arms: list[list[str]] = [[] for _ in range(shape[0])]
    for at, arm in zip(row.tolist(), screened.arms, strict=True):
        arms[at].append(arm)
    is_amount = "sum" in screened.numbers
    return Counts(
        names=names.dictionary.to_pylist(),
        labels=[str(labels[at]) for at in order[starts].tolist()],
        arms=arms,
        present=present,
        units=lay("units"),
        shares=lay("share") if "share" in screened.numbers else present.astype(float),
        measured=moments.total(lay("units"), lay("sum"), lay("sum_of_squares"))
        if is_amount
        else moments.count(lay("units"), lay("conversions")),
        left_out=screened.left_out,
    )


def analyse(counts: Counts, confidence: float = 0.95, correction: Correction = "holm") -> Results:
    """Every experiment read once, by Welch's test, corrected over its arms."""
    alpha = 1 - confidence
    arms = estimates.estimate(counts.measured)
    others = counts.present[:, 1:]
    many = np.maximum(others.sum(1, keepdims=True), 1)
    level = alpha if correction == "none" else alpha / many
    control = arms[:, np.zeros(others.shape[1], np.int64)]
    with np.errstate(invalid="ignore"):
        found = differences.compare(arms[:, 1:], control, level)
    return Results(
        mismatch=mismatch.check_shares(counts.units, counts.shares, counts.present),
        value=np.where(counts.present, arms.value, np.nan),
        difference=found,
        adjusted=_correct(np.where(others, found.p, np.nan), others, correction),
    )


def _correct(p: NDArray[np.float64], there: NDArray[np.bool_], correction: Correction) -> NDArray[np.float64]:
    """By experiments of the same number of arms: an arm that is none is no comparison."""
    adjusted = np.full(p.shape, np.nan)
    for many in np.unique(there.sum(1)).tolist():
        rows = np.flatnonzero(there.sum(1) == many)
        adjusted[rows, :many] = corrections.correct(p[rows, :many], correction)
    return adjusted


def _open(path: Path) -> pa.Table:
    import pyarrow.csv as pc_csv
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path) if path.suffix == ".parquet" else pc_csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CountsError(f"{path} cannot be read: {error}") from error


def write(path: Path, counts: Counts, results: Results) -> None:
    """A row for each arm, as CSV."""
    import pyarrow.csv as pc_csv

    rows, columns = np.nonzero(counts.present)
    beside = results.difference
    first = columns == 0

    def told(values: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.column_stack([np.full(len(counts.names), np.nan), values])
        return np.where(first, np.nan, padded[rows, columns])

    sheet = {
        "experiment": [counts.names[at] for at in rows.tolist()],
        "arm": [counts.arms[row][column] for row, column in zip(rows.tolist(), columns.tolist(), strict=True)],
        "units": counts.units[rows, columns],
        "mismatch_p": results.mismatch[rows],
        "mismatch": results.alarms[rows],
        "value": results.value[rows, columns],
        "difference": told(beside.value),
        "low": told(beside.low),
        "high": told(beside.high),
        "lift": told(beside.lift),
        "lift_low": told(beside.lift_low),
        "lift_high": told(beside.lift_high),
        "p": told(beside.p),
        "adjusted": told(results.adjusted),
    }
    pc_csv.write_csv(pa.table({name: pa.array(values, from_pandas=True) for name, values in sheet.items()}), path)
