"""The model as a service would have it: exported, loaded, scored beside LightGBM, and timed."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.bundle import BundleError, load, save
from training.gates import Serving

if TYPE_CHECKING:
    from models.bundle import Bundle, Description
    from training.fit import Fitted
    from training.labels import Floats
    from training.parts import Matrix

ROWS, TIMES = 100, 40


def try_out(description: Description, fitted: Fitted, matrix: Matrix) -> tuple[Serving, Bundle | None]:
    """What loading and scoring it says, and what was loaded; `matrix` are rows in the signature's order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        value = None if fitted.value is None else fitted.value.booster.model_to_string()
        save(path, description, fitted.booster.model_to_string(), value)
        try:
            bundle = load(path)
        except BundleError as error:
            return Serving(problem=str(error).removeprefix(f"{path}: ")), None
    rows = np.asarray(np.resize(matrix, (ROWS, matrix.shape[1])), np.float64)
    if not np.array_equal(bundle.score(rows), fitted.booster.predict(rows, raw_score=True, num_threads=1)):
        return Serving(problem="as exported it scores otherwise than as trained"), None
    if fitted.value is not None and not np.array_equal(bundle.appraise(rows), fitted.value.of(rows)):
        return Serving(problem="as exported it values rewards otherwise than as trained"), None
    return Serving(latency_ms=_measure(bundle, rows)), bundle


def _measure(bundle: Bundle, rows: Floats) -> float:
    """Milliseconds of this thread's time, the median: what other programs take does not count."""
    seconds = []
    for _ in range(TIMES):
        began = time.thread_time()
        bundle.score(rows)
        if bundle.appraiser is not None:
            bundle.appraise(rows)
        seconds.append(time.thread_time() - began)
    return float(np.median(seconds)) * 1e3
