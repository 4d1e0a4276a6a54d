"""Seconds and peak memory of the point-in-time join: at size, and side by side with the DuckDB store that Feast brings.

Run it: `python tests/benchmarks/asof.py [--json FILE]`. Every figure comes from a process of its own, so that a peak is
one join's; it includes the interpreter with Feast, some 0.4 GB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[2]
ASOF = "features.offline.AsofOfflineStore"
STOCK = "duckdb"
REPEATS = 3
"""Joins of the fast store: a virtual machine may take seconds to hand out a first gigabyte, which no join costs."""
FEATURES = {"numbers": 15, "affinities": 14, "applied": 1}
"""Thirty values a row: two lists of doubles and one integer."""


class Case(msgspec.Struct, frozen=True):
    """`entities` with `states` rows each, read by `labels` random rows or, where None, by all at every instant."""

    name: str
    entities: int
    states: int
    instants: int
    labels: int | None = None


LARGE = Case("large", entities=100_000, states=10, instants=2_000_000, labels=2_000_000)
GRID = Case("grid", entities=200, states=500, instants=500)


def make(case: Case, folder: Path) -> None:
    """Write `states/*.parquet` (several files) and `labels.parquet`."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    draw = np.random.default_rng(7)
    stamp = pa.timestamp("us", tz="UTC")
    rows = case.entities * case.states
    span = 86_400_000_000 * 90

    def packed(width: int) -> pa.ListArray:
        return pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * width, draw.random(rows * width))

    names = np.char.add("c-", np.arange(case.entities).astype(str))
    times = draw.integers(0, span, rows)
    states = pa.table(
        {
            "customer": pa.array(np.repeat(names, case.states)),
            "event_timestamp": pa.array(times, stamp),
            "numbers": packed(FEATURES["numbers"]),
            "affinities": packed(FEATURES["affinities"]),
            "applied": times,
        }
    )
    (folder / "states").mkdir()
    for part in range(4):
        parquet.write_table(states.slice(part * rows // 4, rows // 4), folder / "states" / f"{part}.parquet")
    if case.labels is None:
        instants = np.sort(draw.integers(0, span, case.instants))
        labels = {"customer": np.tile(names, case.instants), "event_timestamp": np.repeat(instants, case.entities)}
    else:
        chosen = draw.integers(0, case.entities, case.labels)
        labels = {"customer": names[chosen], "event_timestamp": draw.integers(0, span, case.labels)}
    table = pa.table({"customer": labels["customer"], "event_timestamp": pa.array(labels["event_timestamp"], stamp)})
    parquet.write_table(table, folder / "labels.parquet")


def measure(store_type: str, folder: Path) -> dict[str, float]:
    """Join the folder's labels by one store, through Feast, to an Arrow table."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.data_format import ParquetFormat
    from feast.repo_config import RepoConfig
    from feast.types import Array, Float64, Int64
    from pyarrow import parquet

    customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
    types = {name: Int64 if width == 1 else Array(Float64) for name, width in FEATURES.items()}
    source = FileSource(path=str(folder / "states"), file_format=ParquetFormat(), timestamp_field="event_timestamp")
    view = FeatureView(
        name="states",
        entities=[customer],
        schema=[Field(name=name, dtype=kind) for name, kind in types.items()],
        source=source,
        ttl=timedelta(0),
    )
    store = FeatureStore(
        config=RepoConfig(
            project="asof",
            provider="local",
            registry=str(folder / f"{store_type}.db"),
            offline_store={"type": store_type},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    store.apply([customer, view])
    labels: Any = parquet.read_table(folder / "labels.parquet")
    if store_type == STOCK:
        labels = labels.to_pandas()  # stock takes nothing else
    before = peak()
    seconds, processor = [], []
    joined: Any = None
    for _ in range(1 if store_type == STOCK else REPEATS):
        joined = None  # the last answer's memory is free again before the next
        start, used = time.perf_counter(), time.process_time()
        joined = store.get_historical_features(labels, [f"states:{name}" for name in types]).to_arrow()
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    matched = joined.num_rows - joined["applied"].null_count
    figures = {"rows": joined.num_rows, "matched": matched, "first": seconds[0], "best": min(seconds)}
    return figures | {"processor": min(processor), "peak_gb": peak(), "before_gb": before}


def peak() -> float:
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9


def run(*arguments: str) -> dict[str, Any]:
    """One step of this script in a child process; the answer is the last line that it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    child = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer


def compare(case: Case, store_types: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kairos-asof-") as folder:
        run("make", case.name, folder)
        return {store_type: run("measure", store_type, folder) for store_type in store_types}


def show(figures: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "store", "labels", "first, s", "best, s", "CPU, s", "peak GB", "before")
    for case, by_store in figures.items():
        for store_type, figure in by_store.items():
            amounts = (f"{figure[name]:.2f}" for name in ("first", "best", "processor", "peak_gb", "before_gb"))
            table.add_row(case, "stock" if store_type == STOCK else "ours", f"{figure['rows']:,}", *amounts)
    console = Console()
    console.print(table)
    stock, ours = figures[GRID.name][STOCK], figures[GRID.name][ASOF]
    speed, memory = stock["first"] / ours["first"], stock["peak_gb"] / ours["peak_gb"]
    console.print(f"grid: {speed:.0f} times faster than stock, in 1/{memory:.1f} of its memory")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["make", name, folder]:
            make(next(case for case in (LARGE, GRID) if case.name == name), Path(folder))
            print("{}")
        case ["measure", store_type, folder]:
            print(json.dumps(measure(store_type, Path(folder))))
        case [] | ["--json", _]:
            figures = {LARGE.name: compare(LARGE, [ASOF]), GRID.name: compare(GRID, [STOCK, ASOF])}
            show(figures)
            if arguments:
                Path(arguments[1]).write_text(json.dumps(figures, indent=2))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
