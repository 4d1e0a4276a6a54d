"""All that the offline store accepts, gives back and refuses."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureService, FeatureStore, FeatureView, Field, FileSource, RequestSource
from feast.data_format import DeltaFormat, ParquetFormat
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float64, Int64, String
from pyarrow import parquet

from tests.features.historical import (
    CUSTOMER,
    EPOCH,
    RULES,
    STAMP,
    World,
    build,
    features_of,
    folder,
    frame,
    joined,
    row,
    view,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# ibis 12 calls a method of DuckDB that DuckDB 2 renamed; only the stock store and materialization go through ibis
pytestmark = pytest.mark.filterwarnings(r"ignore:fetch_arrow_table\(\) is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("offline"))


def test_labels_keep_their_order_their_index_and_their_other_columns(world: World) -> None:
    write(world.root / "plain", [row("b", 7, 2.0), row("a", 9, 3.0), row("a", 1, 1.0)], split=2)
    labels = frame(at=[9, 1, 8, 9, 0], customer=["a", "b", "a", None, "a"], weight=[5, 4, 3, 2, 1])
    labels.index = pd.Index(["v", "w", "x", "y", "z"], name="case")
    job = world.ours.get_historical_features(labels, ["plain:numbers", "plain:applied"])
    table, result = job.to_arrow(), job.to_df()
    assert table.column_names == ["event_timestamp", "customer", "weight", "numbers", "applied"]
    assert table["applied"].to_pylist() == [9, None, 1, None, None]
    assert table.schema.field("numbers").type == pa.list_(pa.float64())
    assert table.schema.field("event_timestamp").type == STAMP
    assert list(result.index) == list("vwxyz")
    assert result.index.name == "case"
    assert list(result["weight"]) == [5, 4, 3, 2, 1]
    assert list(labels.columns) == ["event_timestamp", "customer", "weight"]


@pytest.mark.parametrize(
    "times",
    [
        pd.to_datetime(["2023-11-14 22:13:20.000003"]),
        pd.to_datetime(["2023-11-14 23:13:20.000003+01:00"]),
        pd.to_datetime(["2023-11-14 22:13:20.000003999"]),
        pd.Series(["2023-11-14T22:13:20.000003Z"]),
        pd.Series([datetime(2023, 11, 14, 22, 13, 20, 3)], dtype="object"),  # noqa: DTZ001  # naive is what it is about
    ],
    ids=["naive", "other zone", "nanoseconds", "text", "objects"],
)
def test_label_times_are_understood_as_utc_microseconds(world: World, times: Any) -> None:
    write(world.root / "plain", [row("a", 3), row("a", 4)])
    table = joined(world.ours, pd.DataFrame({"customer": ["a"], "event_timestamp": times}), ["plain:applied"])
    assert table["plain__applied"].to_pylist() == [3]


def test_labels_may_be_an_arrow_table_or_a_query(world: World, tmp_path: Path) -> None:
    write(world.root / "plain", [row("a", 3), row("b", 4)])
    labels = pa.table({"customer": ["b", "a"], "seen": pa.array([EPOCH + 4, EPOCH + 2], STAMP)})
    parquet.write_table(labels, tmp_path / "labels.parquet")
    query = f"FROM '{tmp_path}/labels.parquet' ORDER BY customer DESC"
    for given_labels in (labels, query):
        table = joined(world.ours, given_labels, ["plain:applied"])
        assert table.column_names == ["customer", "seen", "plain__applied"]
        assert table["plain__applied"].to_pylist() == [4, None]


def test_no_labels_give_no_rows_but_all_columns(world: World) -> None:
    write(world.root / "plain", [row("a", 3)])
    empty = pa.table({"customer": pa.array([], pa.string()), "event_timestamp": pa.array([], STAMP)})
    table = joined(world.ours, empty, ["plain:numbers"])
    assert table.num_rows == 0
    assert table.schema.field("plain__numbers").type == pa.list_(pa.float64())


def test_a_view_may_be_read_twice_under_aliases_by_other_columns(world: World) -> None:
    write(world.root / "plain", [row("a", 3), row("b", 4)])
    plain = world.ours.get_feature_view("plain")
    world.ours.apply(
        FeatureService(
            name="both",
            features=[
                plain.with_name("sender").with_join_key_map({"customer": "from"})[["applied"]],
                plain.with_name("receiver").with_join_key_map({"customer": "to"})[["applied"]],
            ],
        )
    )
    labels = frame(at=[9, 9], number=[0, 1], to=["b", "a"]).assign(**{"from": ["a", "x"]})
    for feast in (world.ours, world.stock):
        table = joined(feast, labels, feast.get_feature_service("both", allow_cache=False))
        assert features_of(table) == [
            {"sender__applied": 3, "receiver__applied": 4},
            {"sender__applied": None, "receiver__applied": 3},
        ]


def test_a_single_file_with_columns_of_other_names_is_read_by_its_field_mapping(world: World) -> None:
    table = pa.table({"customer": ["a", "b"], "at": pa.array([EPOCH, EPOCH], pa.timestamp("us")), "n": [[1.5], [2.5]]})
    parquet.write_table(table, world.root / "mapped.parquet")
    source = FileSource(path="mapped.parquet", timestamp_field="at", field_mapping={"n": "ratings"})
    fields = [Field(name="ratings", dtype=Array(Float64))]
    world.ours.apply(FeatureView(name="mapped", entities=[CUSTOMER], schema=fields, source=source))
    result = joined(world.ours, frame(at=[0], customer=["b"]), ["mapped:ratings"], full=False)
    assert result["ratings"].to_pylist() == [[2.5]]


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
def test_on_demand_views_are_computed_from_the_joined_rows(world: World) -> None:
    write(world.root / "plain", [row("a", 3)])
    plain = world.ours.get_feature_view("plain")

    @on_demand_feature_view(  # type: ignore[untyped-decorator]  # Feast leaves it untyped
        sources=[plain, RequestSource(name="moment", schema=[Field(name="now", dtype=Int64)])],
        schema=[Field(name="age", dtype=Int64)],
        mode="pandas",
    )
    def closed(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"age": inputs["now"] - inputs["applied"]})

    world.ours.apply(closed)
    labels = frame(at=[9], customer=["a"], now=[10])
    assert joined(world.ours, labels, ["closed:age"], full=False)["age"].to_pylist() == [7]


@pytest.mark.parametrize("files", [[], ["0.parquet"]], ids=["no file", "a file without rows"])
def test_a_folder_without_rows_gives_nulls_of_the_declared_types(world: World, files: list[str]) -> None:
    write(world.root / "pairs", [])
    for file in {path.name for path in (world.root / "pairs").iterdir()} - set(files):
        (world.root / "pairs" / file).unlink()
    labels = frame(at=[1, 2], customer=["a", "b"], candidate=[1, 1])
    table = joined(world.ours, labels, ["pairs:numbers", "pairs:applied"])
    assert table["pairs__numbers"].to_pylist() == table["pairs__applied"].to_pylist() == [None, None]
    assert table.schema.field("pairs__numbers").type == pa.list_(pa.float64())
    assert table.schema.field("pairs__applied").type == pa.int64()


def test_a_saved_dataset_is_the_join(world: World, tmp_path: Path) -> None:
    write(world.root / "plain", [row("a", 3, 1.0)])
    job = world.ours.get_historical_features(frame(at=[3], customer=["a"]), ["plain:numbers"])
    job.persist(SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet")))
    assert parquet.read_table(tmp_path / "saved.parquet")["numbers"].to_pylist() == [[1.0, -1.0]]
    assert job.metadata is not None
    assert job.metadata.keys == ["customer"]


def test_a_feature_repository_names_the_store_in_its_yaml(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text(
        "{project: named, provider: local, registry: registry.db, entity_key_serialization_version: 3,"
        " offline_store: {type: features.offline.AsofOfflineStore}, online_store: {type: sqlite, path: online.db}}"
    )
    source = folder(tmp_path / "plain")
    write(tmp_path / "plain", [row("a", 3)])
    feast = FeatureStore(repo_path=str(tmp_path))
    feast.apply([CUSTOMER, view("plain", source, RULES["plain"])])
    assert joined(feast, frame(at=[3], customer=["a"]), ["plain:applied"])["plain__applied"].to_pylist() == [3]


def refused(world: World, labels: Any, references: Sequence[str] = ("plain:applied",), **options: Any) -> Any:
    return world.ours.get_historical_features(labels, list(references), **options)


def test_labels_that_cannot_be_placed_are_refused(world: World) -> None:
    write(world.root / "plain", [row("a", 3)])
    with pytest.raises(FeastEntityDFMissingColumnsError, match="customer"):
        refused(world, frame(at=[1]))
    with pytest.raises(EntityTimestampInferenceException):
        refused(world, pd.DataFrame({"customer": ["a"]}))
    with pytest.raises(ValueError, match="'event_timestamp' holds int64"):
        refused(world, pd.DataFrame({"customer": ["a"], "event_timestamp": [EPOCH]}))
    with pytest.raises(ValueError, match="named like features: applied"):
        refused(world, frame(at=[1], customer=["a"], applied=[1]))
    with pytest.raises(ValueError, match="entity_df is a list"):
        refused(world, [{"customer": "a"}])


def test_what_the_store_does_not_do_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="entity_df is required"):
        refused(world, None, start_date=datetime(2023, 1, 1))  # noqa: DTZ001  # never read
    with pytest.raises(NotImplementedError, match="AsofOfflineStore"):
        refused(world, frame(at=[1], customer=["a"]), filter_by_created_timestamp=True)


def test_sources_that_cannot_be_read_are_refused(world: World) -> None:
    labels = frame(at=[1], customer=["a"])
    sources = {
        "gone": FileSource(
            path=str(world.root / "gone"), file_format=ParquetFormat(), timestamp_field="event_timestamp"
        ),
        "delta": FileSource(
            path=str(world.root / "plain"), file_format=DeltaFormat(), timestamp_field="event_timestamp"
        ),
        "thin": folder(world.root / "thin"),
    }
    parquet.write_table(pa.table({"customer": ["a"], "applied": [1]}), world.root / "thin" / "0.parquet")
    fields = [Field(name="applied", dtype=Int64), Field(name="title", dtype=String)]
    world.ours.apply(
        [FeatureView(name=name, entities=[CUSTOMER], schema=fields, source=source) for name, source in sources.items()]
    )
    with pytest.raises(FileNotFoundError, match=r"'gone': no file or folder .*gone"):
        refused(world, labels, ["gone:applied"])
    with pytest.raises(ValueError, match="'delta': only local Parquet files"):
        refused(world, labels, ["delta:applied"])
    with pytest.raises(ValueError, match=r"'thin': .* has no column 'title', 'event_timestamp'"):
        refused(world, labels, ["thin:applied", "thin:title"])
