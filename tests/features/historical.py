"""A small Feast repository over Parquet folders, for the tests of the point-in-time join, and rows to put into it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd
import pyarrow as pa
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.repo_config import RepoConfig
from feast.types import Array, Float64, Int64
from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Row = dict[str, Any]
STAMP = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    {
        "customer": pa.string(),
        "candidate": pa.int64(),
        "event_timestamp": STAMP,
        "written": STAMP,
        "numbers": pa.list_(pa.float64()),
        "counts": pa.list_(pa.int64()),
        "applied": pa.int64(),
    }
)
VALUES = [Field(name="numbers", dtype=Array(Float64)), Field(name="counts", dtype=Array(Int64))]
FEATURES = ("numbers", "counts", "applied")
EPOCH = 1_700_000_000_000_000


class Rule(msgspec.Struct, frozen=True):
    """How a view joins, as the oracle needs to know it; a `ttl` of 0 is none."""

    keys: tuple[str, ...]
    ttl: int = 0
    created: bool = False


RULES = {
    "plain": Rule(("customer",)),
    "brief": Rule(("candidate",), ttl=10),
    "pairs": Rule(("customer", "candidate"), ttl=7, created=True),
}
CUSTOMER = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
CANDIDATE = Entity(name="candidate", join_keys=["candidate"], value_type=ValueType.INT64)
REFERENCES = [f"{view}:{feature}" for view in RULES for feature in FEATURES]


class World(msgspec.Struct, frozen=True):
    root: Path
    ours: FeatureStore
    stock: FeatureStore


def view(name: str, source: FileSource, rule: Rule) -> FeatureView:
    return FeatureView(
        name=name,
        entities=[entity for entity in (CUSTOMER, CANDIDATE) if entity.name in rule.keys],
        schema=[*VALUES, Field(name="applied", dtype=Int64)],
        source=source,
        ttl=timedelta(microseconds=rule.ttl),
    )


def folder(path: Path, **options: Any) -> FileSource:
    path.mkdir(exist_ok=True)
    return FileSource(path=str(path), file_format=ParquetFormat(), timestamp_field="event_timestamp", **options)


def store(root: Path, offline: str) -> FeatureStore:
    config = RepoConfig(
        project="tests",
        provider="local",
        registry=str(root / "registry.db"),
        offline_store={"type": offline},
        online_store={"type": "sqlite", "path": str(root / "online.db")},
        entity_key_serialization_version=3,
    )
    config.repo_path = root
    return FeatureStore(config=config)


def build(root: Path) -> World:
    """One registry with the three views over empty folders, seen by our store and by Feast's own."""
    ours = store(root, "features.offline.AsofOfflineStore")
    views = [
        view(name, folder(root / name, created_timestamp_column="written" if rule.created else ""), rule)
        for name, rule in RULES.items()
    ]
    ours.apply([CUSTOMER, CANDIDATE, *views])
    return World(root, ours, store(root, "duckdb"))


GROUP = 3
"""Rows of a group: joins leave out groups of which no row is wanted."""


def write(path: Path, rows: Sequence[Row], split: int = 0) -> None:
    """Rows into two files; times become microseconds after EPOCH."""
    for file in path.glob("*.parquet"):
        file.unlink()
    shifted = [
        row | {name: None if row[name] is None else EPOCH + row[name] for name in ("event_timestamp", "written")}
        for row in rows
    ]
    for number, part in enumerate((shifted[:split], shifted[split:])):
        parquet.write_table(pa.Table.from_pylist(part, SCHEMA), path / f"{number}.parquet", row_group_size=GROUP)


def row(customer: str, time: int, value: float = 0.0, **others: Any) -> Row:
    lists = {"numbers": [value, -value], "counts": [int(value)]}
    return (
        {"customer": customer, "candidate": 1, "event_timestamp": time, "written": None, "applied": time}
        | lists
        | others
    )


def frame(**columns: Any) -> pd.DataFrame:
    """Labels at microseconds after EPOCH (`at`), beside any other columns."""
    at = columns.pop("at")
    return pd.DataFrame(
        {"event_timestamp": pd.to_datetime([EPOCH + time for time in at], unit="us", utc=True), **columns}
    )


def joined(feast: FeatureStore, labels: Any, references: list[str] | FeatureService, full: bool = True) -> pa.Table:
    return feast.get_historical_features(labels, references, full_feature_names=full).to_arrow()


def features_of(table: pa.Table) -> list[Row]:
    ordered = table.sort_by("number")
    features: list[Row] = ordered.select([name for name in ordered.column_names if "__" in name]).to_pylist()
    return features
