"""Trees of one model, grown by all workers together: `lightgbm.dask`, each worker on the rows that lie with it."""

from __future__ import annotations

import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import lightgbm
import msgspec
import numpy as np

from training.cluster.waiting import STAYED, wait_for, workers
from training.labels import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

    from models.signature import Signature
    from training.cluster.joining import Held
    from training.labels import Floats, Ints
    from training.parts import Matrix, Part

LOOK = 0.5
LAST = 3.0
"""Seconds for trees that were nearly grown when a worker was lost."""
NOTICE = 5.0
"""Seconds that the scheduler has to notice it, when trees failed."""
SOCKET_MINUTES = 3
"""After which LightGBM on a worker gives up waiting for the others."""
NAMES = {
    "feature_fraction": "colsample_bytree",
    "bagging_fraction": "subsample",
    "bagging_freq": "subsample_freq",
    "lambda_l2": "reg_lambda",
    "min_data_in_leaf": "min_child_samples",
    "seed": "random_state",
}
"""LightGBM's parameters as its estimators name them."""
OWN = ("num_threads", "metric", "force_col_wise")
"""What each worker settles for itself."""


IGNORED = "Parameter n_jobs will be ignored"
"""What lightgbm.dask says of its own default."""


class _Quiet:
    """Where LightGBM tells of itself: as usual, without what is said to standard output, where progress is shown."""

    def info(self, text: str) -> None:
        pass

    def warning(self, text: str) -> None:
        if not text.startswith(IGNORED):
            warnings.warn(text, stacklevel=3)


class LostError(Exception):
    """A worker went away while the trees grew."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What trees are grown from, beside the rows."""

    columns: Ints
    """Of the parts' matrices, which the signature names."""
    signature: Signature
    parameters: dict[str, Any]
    trees: int
    weight: Floats
    begin: Floats | None
    """The scores that trees add to; None: zero."""


def grow(client: Client, held: Held, task: Task) -> lightgbm.Booster:
    """All trees; none stops early. Raises TrainingError when a worker is lost meanwhile: the others wait for it until
    LightGBM gives up, so that nobody could begin anew.
    """
    wait_for(client, [span.part for span in held.spans])
    try:
        return _watch(client, lambda: _fit(client, held, task))
    except LostError as error:
        raise TrainingError(
            f"the cluster lost {error} while the trees grew: look whether its workers have memory enough, and train "
            f"anew; the others are free again within {SOCKET_MINUTES} minutes, or when they are restarted; {STAYED}"
        ) from error


def cut(booster: lightgbm.Booster, trees: int) -> lightgbm.Booster:
    """The first trees, as text and back: the very ones that the service will load."""
    return lightgbm.Booster(model_str=booster.model_to_string(num_iteration=trees))


def _watch(client: Client, work: Callable[[], lightgbm.Booster]) -> lightgbm.Booster:
    """What `work` gives. Raises LostError when a worker goes away meanwhile, for whom it may wait for ever."""
    before = workers(client)
    found: list[lightgbm.Booster] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised below, by whoever waits
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive() and before <= workers(client):
        thread.join(LOOK)
    thread.join(LAST)
    if found:
        return found[0]
    if lost := before - _settled(client, before):
        raise LostError(", ".join(sorted(lost))) from (failed[0] if failed else None)
    raise failed[0]


def _settled(client: Client, before: set[str]) -> set[str]:
    """Who is there when the scheduler has noticed who is not: the others' errors may come first."""
    deadline = time.monotonic() + NOTICE
    while before <= (there := workers(client)) and time.monotonic() < deadline:
        time.sleep(LOOK)
    return there


def _fit(client: Client, held: Held, task: Task) -> lightgbm.Booster:
    from dask import array, delayed

    def assemble(pieces: list[Any], kind: Any, *width: int) -> Any:
        blocks = [
            array.from_delayed(piece, (span.rows, *width), kind) for piece, span in zip(pieces, held.spans, strict=True)
        ]
        return array.concatenate(blocks, axis=0)

    def spread(values: Floats) -> Any:
        return assemble([delayed(values[rows]) for rows in held.slices()], values.dtype)

    lightgbm.register_logger(_Quiet())
    matrix = [delayed(_columns)(delayed(span.part), task.columns) for span in held.spans]
    given = {NAMES.get(name, name): value for name, value in task.parameters.items() if name not in OWN}
    model = lightgbm.DaskLGBMRegressor(n_estimators=task.trees, client=client, time_out=SOCKET_MINUTES, **given)
    model.fit(
        assemble(matrix, np.float32, len(task.columns)),
        spread(held.rewarded.astype(np.float64)),
        sample_weight=spread(task.weight),
        init_score=None if task.begin is None else spread(task.begin),
        feature_name=task.signature.names,
        categorical_feature=task.signature.categorical,
    )
    booster: lightgbm.Booster = model.booster_
    return booster


def _columns(part: Part, columns: Ints) -> Matrix:
    return part.matrix[:, columns]
