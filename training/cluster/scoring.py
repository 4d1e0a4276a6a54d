"""What is asked of rows that lie on workers: which columns vary, scores, losses tree by tree, and some of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from training import evaluation
from training.cluster.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distributed import Client

    from training.cluster.joining import Held
    from training.labels import Flags, Floats, Ints
    from training.parts import Matrix, Part


def ask(client: Client, held: Held, work: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
    """What `work` says of each span, in order; `columns` are its further arguments, each with one a span."""
    each = zip(*columns, strict=True) if columns else [()] * len(held.spans)
    futures = [
        client.submit(work, span.part, *some, pure=False, retries=2)
        for span, some in zip(held.spans, each, strict=True)
    ]
    wait_for(client, futures)
    found: list[Any] = client.gather(futures)
    return found


def varies(client: Client, held: Held) -> Flags:
    """Columns with at least two different values, a missing one counting as a value."""
    low, high, missing = (np.array(column) for column in zip(*ask(client, held, _look), strict=True))
    present = low.min(axis=0) <= high.max(axis=0)
    found: Flags = present & (missing.any(axis=0) | (low.min(axis=0) < high.max(axis=0)))
    return found


def _look(part: Part) -> tuple[Floats, Floats, Flags]:
    """Each column's smallest and largest value (infinite the wrong way round without any), and whether some miss."""
    low = np.fmin.reduce(part.matrix, axis=0, initial=np.inf)
    high = np.fmax.reduce(part.matrix, axis=0, initial=-np.inf)
    missing: Flags = np.array(np.isnan(part.matrix).any(axis=0))
    return low, high, missing


def take(client: Client, held: Held, wanted: Flags) -> Matrix:
    """Some of the rows, in this process."""
    return np.concatenate(ask(client, held, _take, [wanted[rows] for rows in held.slices()]))


def _take(part: Part, wanted: Flags) -> Matrix:
    return part.matrix[wanted]


def score(client: Client, booster: lightgbm.Booster, held: Held, columns: Ints) -> Floats:
    """Raw scores of all rows."""
    count = len(held.spans)
    return np.concatenate(ask(client, held, _score, [booster.model_to_string()] * count, [columns] * count))


def _score(part: Part, text: str, columns: Ints) -> Floats:
    booster = lightgbm.Booster(model_str=text)
    return np.asarray(booster.predict(part.matrix[:, columns], raw_score=True, num_threads=1), np.float64)


def losses(
    client: Client,
    booster: lightgbm.Booster,
    held: Held,
    begin: Floats | None,
    columns: Ints,
    weight: Floats | None = None,
) -> list[float]:
    """Log loss of the rows by the first trees: of one, of two, of all. `begin` are the scores that trees add to."""
    slices, count = held.slices(), len(held.spans)
    begins = [None if begin is None else begin[rows] for rows in slices]
    weights = [np.ones(rows.stop - rows.start) if weight is None else weight[rows] for rows in slices]
    text = [booster.model_to_string()] * count
    sums = ask(client, held, _lose, text, begins, weights, [columns] * count)
    found: list[float] = (np.sum(sums, axis=0) / sum(float(some.sum()) for some in weights)).tolist()
    return found


def _lose(part: Part, text: str, begin: Floats | None, weight: Floats, columns: Ints) -> Floats:
    """(trees,) the sum of the rows' losses by the first trees."""
    booster = lightgbm.Booster(model_str=text)
    matrix = part.matrix[:, columns]
    raw = np.zeros(len(matrix)) if begin is None else begin.copy()
    sums = np.empty(booster.num_trees())
    for tree in range(len(sums)):
        raw += booster.predict(matrix, raw_score=True, start_iteration=tree, num_iteration=1, num_threads=1)
        sums[tree] = np.dot(weight, evaluation.losses(1.0 / (1.0 + np.exp(-raw)), part.rewarded))
    return sums
