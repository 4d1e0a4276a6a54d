"""Scoring 100 candidates with 300 trees, as the service does it and as LightGBM does, in turns in one process.

Run it: `python tests/benchmarks/scoring.py [--json FILE]`. Milliseconds are of one thread, by the clock and by its own
processor time, which tells more where other programs run beside. A decision's rows share all that is the customer's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import lightgbm
import numpy as np
from rich.console import Console
from rich.table import Table

from models.bundle import Appraisal, Calibration, Description, load, save
from models.signature import Feature, Signature, fillable

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.bundle import Bundle

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

TREES, CANDIDATES, ROUNDS, LEARNT = 300, 100, 200, 30_000
LEAVES = (31, 63)
BAR_MS = 0.8
SHARED = ("customer__", "context__")
"""Begin the names of features that all rows of a decision have alike, but for those by candidate or category."""
CATEGORIES = tuple(f"c-{number}" for number in range(12))


def features(rows: int, seed: int) -> dict[str, Floats]:
    """Values of every feature there is, a third of them zero or missing, as they are in a shop."""
    chance = np.random.default_rng(seed)
    found = {}
    for name, kind in fillable().items():
        values = chance.exponential(2.0, rows)
        values[chance.random(rows) < 0.3] = 0.0
        values[chance.random(rows) < 0.05] = np.nan
        found[name] = chance.integers(0, len(CATEGORIES), rows).astype(float) if kind == "category" else values
    return found


def decision(seed: int) -> dict[str, Floats]:
    """Rows of one customer."""
    found = features(CANDIDATES, seed)
    return {name: np.full(CANDIDATES, it[0]) if name.startswith(SHARED) else it for name, it in found.items()}


def grow(leaves: int, folder: Path) -> Bundle:
    """A model and the trees of its values; raises RuntimeError if a tree is smaller than it should be."""
    kinds = fillable()
    signature = Signature(
        tuple(Feature(name, kind, CATEGORIES if kind == "category" else ()) for name, kind in kinds.items())
    )
    learnt = features(LEARNT, 1)
    matrix = np.column_stack(list(learnt.values()))
    chance = np.random.default_rng(2)
    taste = np.nan_to_num(matrix) @ chance.normal(size=matrix.shape[1]) / 8.0 + chance.normal(size=len(matrix))
    parameters = {"num_leaves": leaves, "min_data_in_leaf": 5, "num_threads": 2, "verbosity": -1, "seed": 3}
    texts = []
    for objective, target in (("binary", (taste > 1.0).astype(float)), ("tweedie", np.exp(taste / 4.0))):
        table = lightgbm.Dataset(
            matrix, target, feature_name=signature.names, categorical_feature=signature.categorical
        )
        booster = lightgbm.train(parameters | {"objective": objective}, table, TREES)
        if any(tree["num_leaves"] != leaves for tree in booster.dump_model()["tree_info"]):
            raise RuntimeError(f"a tree of the {objective} model has not {leaves} leaves")
        texts.append(booster.model_to_string())
    described = Description(
        name="bench", version=str(leaves), reward="click", labels="logged", signature=signature,
        calibration=Calibration((-8.0, 0.0, 8.0), (0.001, 0.1, 0.9)), value=Appraisal(of="revenue"),
    )  # fmt: skip
    save(folder / str(leaves), described, *texts)
    return load(folder / str(leaves))


def subjects(bundle: Bundle) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    asked = decision(7)
    matrix = bundle.encoder.encode(asked)
    rows = np.ascontiguousarray(matrix)
    apart = bundle.encoder.encode(features(CANDIDATES, 8))
    booster = bundle.booster
    return {
        "Kairos: trees": lambda: bundle.score(matrix),
        "Kairos: encode, trees, calibrate": lambda: bundle.propensities(asked),
        "Kairos: the same, and values": lambda: (bundle.propensities(asked), bundle.values(asked)),
        "Kairos: trees, rows that share nothing": lambda: bundle.score(apart),
        "LightGBM: predict, one thread": lambda: booster.predict(rows, raw_score=True, num_threads=1),
        "LightGBM: predict, as set": lambda: booster.predict(rows, raw_score=True),
    }


def measure(found: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    """Median and 99th percentile by the clock, and median of the thread's own time, in milliseconds; in turns."""
    clock: dict[str, list[float]] = {name: [] for name in found}
    own: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(ROUNDS):
        for name, act in found.items():
            began, mine = time.perf_counter(), time.thread_time()
            act()
            own[name].append(time.thread_time() - mine)
            clock[name].append(time.perf_counter() - began)
    return {
        name: {
            "p50": float(np.median(clock[name])) * 1e3,
            "p99": float(np.quantile(clock[name], 0.99)) * 1e3,
            "thread": float(np.median(own[name])) * 1e3,
        }
        for name in found
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    path = parser.parse_args().json
    console, told = Console(width=110), {}
    for leaves in LEAVES:
        with tempfile.TemporaryDirectory() as folder:
            bundle = grow(leaves, Path(folder))
        told[str(leaves)] = measured = measure(subjects(bundle))
        title = f"{CANDIDATES} rows, {TREES} trees of {leaves} leaves; bar {BAR_MS} ms at the median"
        table = Table(title=title, title_justify="left", header_style="bold")
        table.add_column("")
        for column in ("p50 ms", "p99 ms", "own time ms", "against LightGBM"):
            table.add_column(column, justify="right")
        slowest = measured["LightGBM: predict, one thread"]["thread"]
        for name, it in measured.items():
            share = f"{it['thread'] / slowest:.2f}" if name != "LightGBM: predict, as set" else "-"
            table.add_row(name, *(f"{it[key]:.3f}" for key in ("p50", "p99", "thread")), share)
        console.print(table)
    if path is not None:
        path.write_text(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
