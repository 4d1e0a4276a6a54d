"""Feast's DuckDB offline store with another point-in-time join: row numbers by ASOF JOIN, where stock pairs every row.

Reads local Parquet, a file or a folder of files; refuses other sources and formats, and labels that it cannot place.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import ibis  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pandas as pd
import pyarrow as pa
from feast.data_format import ParquetFormat
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig, _write_data_source
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import from_feast_to_pyarrow_type
from pyarrow import compute, dataset

from features.asof import TIME, Source, join

if TYPE_CHECKING:
    from feast.feature_view import FeatureView
    from feast.infra.registry.base_registry import BaseRegistry
    from feast.repo_config import RepoConfig
    from feast.saved_dataset import SavedDatasetStorage, ValidationReference


class Labels(msgspec.Struct, frozen=True):
    """The rows to enrich, in the caller's order; the column named `time` is their instant, in microseconds UTC."""

    table: pa.Table
    time: str
    index: pd.Index[Any] | None
    """A frame's index, given back by `to_df`."""


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):
    type: str = "features.offline.AsofOfflineStore"


class AsofOfflineStore(DuckDBOfflineStore):
    """`offline_store: {type: features.offline.AsofOfflineStore}`; everything but the join is Feast's own."""

    supports_filter_by_created_timestamp = False  # an ASOF JOIN takes one inequality, and the event time needs it

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """One ASOF join a view. `entity_df` is a pandas DataFrame, an Arrow table (never copied) or a DuckDB query.

        Raises ValueError for what this store does not do, for names that clash and for sources it cannot read.
        """
        if filter_by_created_timestamp:
            raise ValueError("filter_by_created_timestamp is not supported: the join orders by event time alone")
        if entity_df is None:
            raise ValueError(f"entity_df is required: the dates {start_date} to {end_date} name no rows to enrich")
        labels = read_labels(entity_df)
        sources = [describe(view, feature_refs, full_feature_names, config.repo_path) for view in feature_views]
        refuse_unfit(labels, sources)
        views = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return AsofRetrievalJob(labels, sources, views, feature_refs, full_feature_names, str(config.repo_path))


class AsofRetrievalJob(RetrievalJob):
    """The join, run anew by each `to_arrow` and `to_df`; rows in the labels' order, frames with the labels' index."""

    def __init__(
        self,
        labels: Labels,
        sources: list[Source],
        on_demand_feature_views: list[OnDemandFeatureView],
        feature_refs: list[str],
        full_feature_names: bool,
        repo_path: str,
    ) -> None:
        super().__init__()
        self._labels, self._sources = labels, sources
        self._on_demand_feature_views = on_demand_feature_views
        self._feature_refs, self._full_feature_names = feature_refs, full_feature_names
        self._repo_path = repo_path

    def to_df(
        self, validation_reference: ValidationReference | None = None, timeout: int | None = None
    ) -> pd.DataFrame:
        frame = super().to_df(validation_reference, timeout)
        return frame if self._labels.index is None else frame.set_axis(self._labels.index)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return join(self._labels.table, self._labels.time, self._sources)

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata:
        table, time = self._labels.table, self._labels.time
        bounds = compute.min_max(table[time])
        keys = [name for name in table.column_names if name != time]
        return RetrievalMetadata(self._feature_refs, keys, bounds["min"].as_py(), bounds["max"].as_py())

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        table = ibis.memtable(self.to_arrow(timeout=timeout))
        _write_data_source(table, storage.to_data_source(), self._repo_path, "overwrite", allow_overwrite)


def read_labels(rows: pd.DataFrame | pa.Table | str) -> Labels:
    """Labels with their time in microseconds UTC: naive times are UTC, and what is finer is cut.

    The time is the column `event_timestamp`, else the only timestamp column; ValueError where there is none.
    """
    index = rows.index if isinstance(rows, pd.DataFrame) else None
    if isinstance(rows, pd.DataFrame):
        table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    elif isinstance(rows, str):
        with duckdb.connect() as connection:
            table = connection.sql(rows).to_arrow_table()
    elif isinstance(rows, pa.Table):
        table = rows
    else:
        raise ValueError(f"entity_df is a {type(rows).__name__}: give a DataFrame, an Arrow table or a query")
    names = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    time = "event_timestamp" if "event_timestamp" in table.column_names else names[0] if len(names) == 1 else None
    if time is None:
        raise EntityTimestampInferenceException("event_timestamp")
    column = table[time]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pa.chunked_array([pa.array(pd.to_datetime(column.to_pandas(), utc=True))])
    if not pa.types.is_timestamp(column.type):
        raise ValueError(f"label column {time!r} holds {column.type}, not timestamps")
    place = table.column_names.index(time)
    return Labels(table.set_column(place, time, column.cast(TIME, safe=False)), time, index)


def describe(view: FeatureView, feature_refs: list[str], full_names: bool, repo_path: Path | None) -> Source:
    """What the references ask of one view; ValueError for a source that is not local Parquet or lacks a column."""
    source = view.batch_source
    if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
        raise ValueError(f"feature view {view.name!r}: only local Parquet files can be read, not {source!r}")
    in_file = {new: old for old, new in source.field_mapping.items()}
    projection = view.projection
    prefix = f"{projection.name_to_use()}:"  # type: ignore[no-untyped-call]  # Feast leaves it untyped
    names = [ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix)]
    full = f"{projection.name_alias or view.name}__" if full_names else ""
    keys = [key.name for key in view.entity_columns]
    time, created = source.timestamp_field, source.created_timestamp_column
    types = {field.name: from_feast_to_pyarrow_type(field.dtype) for field in [*view.entity_columns, *view.features]}
    needed = {in_file.get(name, name): types.get(name, TIME) for name in [*keys, *names, time, created] if name}
    return Source(
        data=open_files(view.name, Path(FileSource.get_uri_for_file_path(repo_path, source.path)), pa.schema(needed)),
        keys={in_file.get(key, key): projection.join_key_map.get(key, key) for key in keys},
        time=in_file.get(time, time),
        created=in_file.get(created, created) or None,
        ttl=view.ttl or timedelta(),
        features={full + name: in_file.get(name, name) for name in names},
    )


def open_files(view: str, path: Path, needed: pa.Schema) -> dataset.Dataset:
    """A file's or folder's rows, files by name; of a folder without files, no rows of the `needed` columns."""
    if not path.exists():
        raise FileNotFoundError(f"feature view {view!r}: no file or folder {path}")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    names = [str(file) for file in files]
    data = dataset.dataset(names, format="parquet") if names else dataset.dataset(needed.empty_table())
    if missing := [name for name in needed.names if name not in data.schema.names]:
        raise ValueError(f"feature view {view!r}: {path} has no column {', '.join(map(repr, missing))}")
    return data


def refuse_unfit(labels: Labels, sources: list[Source]) -> None:
    """Raise for labels without a join key, or with a column that bears a requested feature's name."""
    columns = set(labels.table.column_names)
    keys = {key for source in sources for key in source.keys.values()}
    if missing := keys - columns:
        raise FeastEntityDFMissingColumnsError(keys | {labels.time}, missing)  # type: ignore[no-untyped-call]  # the same
    if clashing := columns & {name for source in sources for name in source.features}:
        raise ValueError(f"the labels have columns named like features: {', '.join(sorted(clashing))}")
