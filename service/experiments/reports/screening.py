"""Which experiments of a table of counts can be read: one that has a wrong row is left out as a whole, and told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COUNTS, AMOUNTS = ("units", "conversions"), ("units", "sum", "sum_of_squares")
HEADER = 1
"""Lines above the first row."""
TOLERANCE = 1e-6


class LeftOut(msgspec.Struct, frozen=True):
    experiment: str
    line: int
    """Of its first wrong row, in a CSV file."""
    reason: str


class Screened(msgspec.Struct, frozen=True):
    """The rows of sound experiments."""

    names: list[str]
    arms: list[str]
    numbers: dict[str, Floats]
    rows: NDArray[np.int64]
    """(n,) their places in the table"""
    left_out: list[LeftOut]


def screen(table: pa.Table) -> Screened:
    """Of a table with the columns that are needed; `share` may be there too."""
    present = set(table.column_names)
    wanted = [*(AMOUNTS if set(AMOUNTS) <= present else COUNTS), *({"share"} & present)]
    names, arms = (_texts(table[name]) for name in ("experiment", "arm"))
    numbers = {name: _numbers(table[name]) for name in wanted}
    wrong: dict[int, str] = {}
    for name in wanted:
        known = table[name].to_pylist()
        for at in np.flatnonzero(~np.isfinite(numbers[name]) | ((numbers[name] < 0) & (name != "sum"))).tolist():
            wrong.setdefault(at, f"{'nothing' if known[at] in (None, '') else known[at]} is no {name}")
    for reason, rows in _contradictions(numbers):
        for at in np.flatnonzero(rows).tolist():
            wrong.setdefault(at, reason)
    seen: set[tuple[str, str]] = set()
    for at, pair in enumerate(zip(names, arms, strict=True)):
        if not all(pair):
            wrong.setdefault(at, "experiment and arm need a name")
        elif pair in seen:
            wrong.setdefault(at, f"experiment {pair[0]!r} has the arm {pair[1]!r} twice")
        seen.add(pair)
    for at, name in _shareless(names, numbers.get("share")):
        wrong.setdefault(at, f"the shares of {name!r} add up to nothing")
    left_out: dict[str, LeftOut] = {}
    for at in sorted(wrong):
        left_out.setdefault(names[at], LeftOut(names[at], at + HEADER + 1, wrong[at]))
    kept = np.array([at for at, name in enumerate(names) if name not in left_out], np.int64)
    return Screened(
        [names[at] for at in kept.tolist()],
        [arms[at] for at in kept.tolist()],
        {name: values[kept] for name, values in numbers.items()},
        kept,
        list(left_out.values()),
    )


def _contradictions(numbers: dict[str, Floats]) -> list[tuple[str, NDArray[np.bool_]]]:
    """What no arm can have, and which rows have it."""
    units = numbers["units"]
    if "conversions" in numbers:
        return [("an arm has more conversions than units", numbers["conversions"] > units)]
    total, squares = numbers["sum"], numbers["sum_of_squares"]
    with np.errstate(invalid="ignore", over="ignore"):
        least = np.divide(total**2, units, out=np.zeros(len(units)), where=units > 0)
        return [
            ("an arm without units has a sum", (units == 0) & ((total != 0) | (squares != 0))),
            ("the sum_of_squares is less than its units and sum allow", squares < least * (1 - TOLERANCE)),
        ]


def _shareless(names: list[str], share: Floats | None) -> list[tuple[int, str]]:
    """(first row, experiment) of those in which no arm was meant to get anything."""
    if share is None:
        return []
    whole: dict[str, float] = {}
    first: dict[str, int] = {}
    for at, (name, part) in enumerate(zip(names, share.tolist(), strict=True)):
        whole[name] = whole.get(name, 0.0) + part
        first.setdefault(name, at)
    return [(first[name], name) for name, total in whole.items() if total == 0]


def _texts(column: pa.ChunkedArray) -> list[str]:
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _numbers(column: pa.ChunkedArray) -> Floats:
    """NaN for what is none."""
    return np.array([_number(value) for value in column.to_pylist()], np.float64)


def _number(value: Any) -> float:
    try:
        return float("nan") if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")
