"""A randomised test in a file: who was treated, what came of it, and what is known of each unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from features.imports.mapping import Expression, Name  # noqa: TC001  # pydantic reads them when the program runs
from models.uplift import UpliftError
from training import tables
from training.tables import Reading
from training.uplift.groups import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from training.labels import Floats


class Mapping(Reading):
    """Each value is a column or an SQL expression."""

    treated: Expression
    """True or 1 for who was treated, false or 0 for who was not; leave other arms out by `where`."""
    outcome: Expression
    features: dict[Name, Expression] = Field(min_length=1)
    """What was known of the unit before: name -> expression. Numbers, or values of which each is a kind of its own."""
    unit: Expression | None = None
    """Whose row it is; if left out, each row is a unit of its own."""


def read(path: Path, mapping: Path) -> Trial:
    """Raises UpliftError, or what reading raises, with what to put right."""
    document, said = tables.read_mapping(mapping, Mapping)
    asked = {f"feature {name}": (("features", name), text) for name, text in said.features.items()}
    for name in ("treated", "outcome", "unit"):
        if (text := getattr(said, name)) is not None:
            asked[name] = ((name,), text)  # type: ignore[assignment]  # a place of one step
    table = tables.read(path, document, said, asked)
    treated = table.numbers("treated")
    if not np.isin(treated, (0.0, 1.0)).all():
        other = treated[~np.isin(treated, (0.0, 1.0))][0]
        raise UpliftError(f"{path}: treated is 1 or 0, true or false, and one is {other:g}")
    matrix, categories = encode({name: table.columns[f"feature {name}"] for name in said.features})
    return Trial(
        units=list(map(str, table.rows)) if said.unit is None else table.texts("unit"),
        matrix=matrix,
        names=list(said.features),
        categories=categories,
        treated=treated == 1.0,
        outcome=table.numbers("outcome"),
    )


def encode(columns: dict[str, list[str | None]]) -> tuple[Floats, dict[str, list[str]]]:
    """Texts as a matrix: numbers where a column has nothing else, else the places of its values among `categories`."""
    encoded, categories = [], {}
    for name, texts in columns.items():
        numbers = _numbers(texts)
        if numbers is None:
            known = sorted({text for text in texts if text is not None})
            place = {text: float(at) for at, text in enumerate(known)}
            numbers = np.array([np.nan if text is None else place[text] for text in texts])
            categories[name] = known
        encoded.append(numbers)
    return np.array(encoded).T, categories


def _numbers(texts: list[str | None]) -> Floats | None:
    try:
        return np.array([np.nan if text is None else float(text) for text in texts])
    except ValueError:
        return None
