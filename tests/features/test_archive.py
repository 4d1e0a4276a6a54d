"""The archive: each event once and in order, whatever its files went through and wherever they lie."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import archive, history
from features.archive.naming import DAY, day_folder
from features.archive.places import at
from features.archive.reading import load_file
from features.archive.writing import GROUP_ROWS
from features.events.schema import Event, Page, Track, decode
from features.home import Home
from features.settings import load
from tests.features.behaviour import CUSTOMERS, behave
from tests.features.deployment import Deployment, now

if TYPE_CHECKING:
    from collections.abc import Callable

    from features.archive.places import Location

GOLDEN = Path(__file__).parents[1] / "golden" / "archive"
ROOT = Path(__file__).parents[2]
START = 1_763_856_000_000_000
"""A midnight."""
LATER = START + 30 * DAY


@pytest.fixture(params=["folder", "file", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty archive: a folder, the same by its URL, or a file system that cannot rename."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4()}"
    return tmp_path if request.param == "folder" else tmp_path.as_uri()


def page(number: int, at: int, customer: str = "") -> Page:
    return Page(message_id=f"m-{number}", customer=customer or f"c-{number % 3}", time=at, received=at)


def put(location: Location, of: str, events: list[Page]) -> list[str]:
    """A file (or more) of these events, which arrive when they are received."""
    partition = int(of) if of.isdecimal() else archive.IMPORTED
    entries = [archive.entry(event.received, event) for event in events]
    return archive.write(location, of, archive.tabulate(partition, entries))


def ids(location: Location) -> list[str]:
    return list(archive.read(location, ["message_id"])["message_id"].to_pylist())


def paths(location: Location) -> list[str]:
    return [file.path for file in archive.files(location)]


def of_days(count: int, days: int, start: int = 0) -> list[Page]:
    """Events evenly over so many days."""
    return [page(start + at, START + at * days * DAY // count + 1) for at in range(count)]


def put_in_pieces(location: Location, events: list[Page], size: int, partition: str = "0") -> None:
    for start in range(0, len(events), size):
        put(location, partition, events[start : start + size])


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_archive_of_any_version_reads_the_same(version: str) -> None:
    table = archive.read(GOLDEN / version)
    assert table.schema == archive.SCHEMA
    assert table.column_names == archive.SCHEMA.names
    rows = table.to_pylist()
    assert [row["message_id"] for row in rows] == [f"m-{number}" for number in range(8)]
    assert [row["partition"] for row in rows] == [0] * 5 + [-1] * 3
    for number, row in enumerate(rows):
        at = START + number * DAY // 2 + number
        common: dict[str, Any] = {"message_id": f"m-{number}", "customer": f"c-{number % 3}", "time": at - 5}
        expected: Event = (
            Page(**common, received=at, name="Home")
            if number % 4 == 3
            else Track(
                **common,
                received=at,
                event="Product Viewed",
                properties={"product_id": f"p-{number}", "größe": "m"},
            )
        )
        assert decode(row["payload"]) == expected
        assert (row["arrival"], row["time"], row["type"]) == (at, at - 5, "page" if number % 4 == 3 else "track")
    assert archive.archived_until(GOLDEN / version, 0) == rows[4]["arrival"]
    assert len(archive.read(GOLDEN / version, ["event"], types=["page"])) == 2


def test_what_is_written_today_is_what_the_golden_file_of_this_version_holds(tmp_path: Path) -> None:
    table = archive.read(GOLDEN / "2").filter(pa.compute.field("partition") == 0)
    for path in archive.write(tmp_path, "0", table):
        fresh, golden = (pq.ParquetFile(root / path) for root in (tmp_path, GOLDEN / "2"))
        assert fresh.read() == golden.read()
        assert fresh.schema_arrow.metadata == golden.schema_arrow.metadata


def test_a_file_of_a_later_version_is_refused_and_a_column_that_is_missing_is_null(tmp_path: Path) -> None:
    table = archive.tabulate(0, [archive.entry(1, page(1, 1))]).drop_columns(["time"])
    pq.write_table(table, tmp_path / "0-1-1.parquet")
    assert archive.read(tmp_path, ["message_id", "time"]).to_pylist() == [{"message_id": "m-1", "time": None}]
    pq.write_table(table.replace_schema_metadata({"kairos.archive": "3"}), tmp_path / "0-2-2.parquet")
    with pytest.raises(archive.ArchiveError, match=r"0-2-2\.parquet of the archive has version 3"):
        archive.read(tmp_path)


def test_an_empty_archive_has_its_columns(location: Location) -> None:
    assert archive.read(location).schema == archive.SCHEMA
    assert archive.read(location, ["payload", "time"]).column_names == ["payload", "time"]
    assert archive.write(location, "0", archive.SCHEMA.empty_table()) == []
    assert paths(location) == []
    assert archive.archived_until(location, 0) == 0
    assert archive.compact(location, LATER) == archive.compaction.Compacted(0, 0)


def test_events_lie_by_the_day_of_their_arrival(location: Location) -> None:
    written = put(location, "0", [page(1, START - 1), page(2, START), page(3, START + DAY - 1), page(4, START + DAY)])
    assert written == paths(location)
    assert written == [
        f"day=2025-11-22/0-{START - 1}-{START - 1}.parquet",
        f"day=2025-11-23/0-{START}-{START + DAY - 1}.parquet",
        f"day=2025-11-24/0-{START + DAY}-{START + DAY}.parquet",
    ]
    assert ids(location) == ["m-1", "m-2", "m-3", "m-4"]
    assert day_folder(-1) == "day=1969-12-31"


def test_parts_of_it_can_be_read(location: Location) -> None:
    events = of_days(60, 6)
    put_in_pieces(location, events, 7)
    put(location, "import-1", of_days(10, 6, start=100))
    since, until = events[20].received, events[40].received
    found = archive.read(location, ["arrival", "message_id"], customers=["c-1", "c-2"], since=since, until=until)
    expected = [event for event in [*events, *of_days(10, 6, start=100)] if since <= event.received <= until]
    assert sorted(found["message_id"].to_pylist()) == sorted(
        event.message_id for event in expected if event.customer != "c-0"
    )
    assert found["arrival"].to_pylist() == sorted(found["arrival"].to_pylist())


@pytest.mark.parametrize("most", [1, 4000, 1 << 40])
def test_a_large_file_is_read_in_spans_of_which_each_opens_a_part_of_it(tmp_path: Path, most: int) -> None:
    count = 3 * GROUP_ROWS
    arrivals = np.arange(count) * (DAY // count) + START
    events = archive.tabulate(0, [archive.entry(START, page(0, START))]).take(np.zeros(count, np.int64))
    for partition in range(2):
        columns = {"arrival": arrivals + partition, "partition": np.full(count, partition, np.int32)}
        table = pa.table({name: columns.get(name, events[name]) for name in archive.SCHEMA.names}, archive.SCHEMA)
        archive.write(tmp_path, str(partition), table)
    since, last = START + DAY // 3, START + DAY - 1
    ends = archive.cut(tmp_path, since, last, most)
    assert ends[-1] == last
    spans = list(zip([since, *(end + 1 for end in ends)], ends, strict=False))
    found = [archive.read(tmp_path, ["arrival", "partition"], since=first, until=until) for first, until in spans]
    assert pa.concat_tables(found) == archive.read(tmp_path, ["arrival", "partition"], since=since, until=last)
    largest = max(map(len, found))
    assert largest <= (2 * GROUP_ROWS if most == 1 else 2 * count)
    assert (len(ends) == 1) == (most > 4000)
    first = archive.files(tmp_path)[0]
    assert len(load_file(at(tmp_path), first, ["arrival"], since=START + DAY - 10**9)) == GROUP_ROWS


def test_other_programs_read_it_as_it_is(tmp_path: Path) -> None:
    put_in_pieces(tmp_path, of_days(60, 3), 7)
    put(tmp_path, "import-1", of_days(6, 6, start=100))
    put(tmp_path, "1", [page(200, START + 7 * DAY)])
    assert archive.erase(tmp_path, ["nobody"]) == (0, 0)
    archive.erase(tmp_path, ["c-2"])  # leaves a note beside the files
    (tmp_path / "day=2025-11-23" / ".0-1-2.parquet.4711-00.tmp").write_bytes(b"PAR1 and then the power went")
    expected = sorted(ids(tmp_path))
    for _ in range(2):
        rows = duckdb.execute(
            f"SELECT message_id, day, make_timestamp(arrival)::DATE AS of FROM read_parquet('{tmp_path}/**/*.parquet')"  # noqa: S608  # a path of our own
        ).fetchall()
        assert sorted(row[0] for row in rows) == expected
        assert all(day == of for _, day, of in rows)
        assert sorted(pq.read_table(tmp_path)["message_id"].to_pylist()) == expected
        found = ds.dataset(tmp_path, partitioning="hive").to_table(filter=ds.field("day") == "2025-11-24")
        assert {day_folder(at) for at in found["arrival"].to_pylist()} == {"day=2025-11-24"}
        archive.compact(tmp_path, LATER)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_merging_changes_nothing_of_what_is_read_wherever_it_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A merge that died has put some merged files in their places, and not yet removed all of what they are made of."""
    root = tmp_path_factory.mktemp("archive")
    chance = random.Random(data.draw(st.integers(0, 1 << 30)))
    until = {"0": START, "1": START}
    expected: dict[str, tuple[int, int]] = {}
    for number in range(chance.randrange(1, 40)):
        of = chance.choice(["0", "1"])
        size = chance.randrange(1, 4)
        events = [
            page(1000 * number + at, until[of] + at + chance.choice([1, DAY // 3 * (at == size - 1) + 1]))
            for at in range(size)
        ]
        until[of] = events[-1].received + 1
        expected |= {event.message_id: (event.received, int(of)) for event in events}
        flat = chance.random() < 0.2
        for path in put(root, of, events):
            if flat:  # as older versions wrote it
                (root / path).rename(root / Path(path).name)
    wanted = sorted(expected, key=lambda message_id: (expected[message_id], message_id))
    version = archive.version(root)
    for _ in range(3):
        before = {path: (root / path).read_bytes() for path in paths(root)}
        archive.compact(root, chance.choice([START + DAY, LATER, max(until.values()) + 2 * DAY]))
        gone = [path for path in before if path not in paths(root)]
        for path in chance.sample(gone, chance.randrange(len(gone) + 1)):
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(before[path])
        assert ids(root) == wanted
        assert archive.version(root) == version
        assert [archive.archived_until(root, int(of)) for of in until] == [
            max((at for at, partition in expected.values() if partition == int(of)), default=0) for of in until
        ]
    archive.compact(root, max(until.values()) + 2 * DAY)
    groups = [(file.folder, file.name.split("-")[0]) for file in archive.files(root)]
    assert len(groups) == len(set(groups))
    assert all(folder.startswith("day=") for folder, _ in groups)
    assert sum(archive.count(root, file) for file in archive.files(root)) == len(expected)
    assert ids(root) == wanted


def test_past_days_are_merged_and_today_when_it_has_many_files(location: Location) -> None:
    put_in_pieces(location, of_days(200, 2), 5)
    noon = START + DAY + DAY // 2
    done = archive.compact(location, noon)
    assert (done.before, done.after) == (20, 1)
    assert len(paths(location)) == 21
    put_in_pieces(location, [page(1000 + at, START + 2 * DAY - 1000 + at) for at in range(100)], 5)
    archive.compact(location, START + 2 * DAY - 1)
    assert len(paths(location)) == 2
    assert len(ids(location)) == 300
    put(location, "0", [page(2000, START + 2 * DAY - 1)])
    archive.compact(location, START + 2 * DAY + 1)  # what came at the end of the day may not be archived yet
    assert len(paths(location)) == 3
    archive.compact(location, LATER)
    assert len(paths(location)) == 2
    assert archive.compact(location, LATER) == archive.compaction.Compacted(0, 0)


def test_merged_rows_are_in_groups_that_are_read_well(tmp_path: Path) -> None:
    put_in_pieces(tmp_path, [page(at, START + at) for at in range(3000)], 50)
    archive.compact(tmp_path, LATER)
    [path] = paths(tmp_path)
    assert pq.read_metadata(tmp_path / path).num_row_groups == 1
    arrivals = pq.ParquetFile(tmp_path / path).read(["arrival"])["arrival"].to_pylist()
    assert arrivals == sorted(arrivals)


def test_of_a_large_file_only_what_is_of_the_time_is_opened(location: Location) -> None:
    size = 2 * GROUP_ROWS + 10
    rows = [{"arrival": START + row, "partition": 0, "type": "page", "message_id": f"m-{row}"} for row in range(size)]
    archive.write(location, "0", pa.Table.from_pylist(rows, schema=archive.SCHEMA))
    [file] = archive.files(location)
    times = [(None, None), (None, START - 1), (START + size, None), (START + 5, START + 5)]
    times += [(START + GROUP_ROWS - 1, START + GROUP_ROWS), (START + 2 * GROUP_ROWS, None), (None, START + GROUP_ROWS)]
    opened = [len(load_file(at(location), file, ["arrival"], *time)) for time in times]
    assert opened == [size, 0, 0, GROUP_ROWS, 2 * GROUP_ROWS, 10, 2 * GROUP_ROWS]
    for since, until in times:
        found = archive.read(location, ["arrival"], since=since, until=until)["arrival"].to_pylist()
        assert found == [
            START + place
            for place in range(size)
            if (since is None or START + place >= since) and (until is None or START + place <= until)
        ]


def test_who_reads_while_files_are_written_and_merged_sees_each_event_once(location: Location) -> None:
    put_in_pieces(location, of_days(120, 4), 4)
    seen: list[list[str]] = []
    over = threading.Event()

    def write_and_merge() -> None:
        try:
            for turn in range(10):
                events = [page(120 + turn * 40 + at, START + 5 * DAY + turn * 50 + at) for at in range(40)]
                put_in_pieces(location, events, 4)
                archive.compact(location, START + (3 + turn) * DAY)
        finally:
            over.set()

    writer = threading.Thread(target=write_and_merge)
    writer.start()
    while not over.is_set():
        seen.append(ids(location))
    writer.join()
    seen.append(ids(location))
    for found in seen:
        assert found == [f"m-{number}" for number in range(len(found))]
    assert sorted(map(len, seen)) == list(map(len, seen))
    assert len(seen[-1]) == 520


def test_an_import_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    written = put(tmp_path, "import-ab12", of_days(12, 4))
    assert written == paths(tmp_path)
    assert {path.split("/")[0] for path in written} == {"import-ab12"}
    whole = {path: (tmp_path / path).read_bytes() for path in written}
    staged = tmp_path / ".import-cd34.4711-00.tmp"
    for path, content in whole.items():
        (staged / path).parent.mkdir(parents=True)
        (staged / path).write_bytes(content)
    assert len(ids(tmp_path)) == 12
    archive.compact(tmp_path, LATER)  # leaves imports as they are
    assert paths(tmp_path) == written


@pytest.mark.parametrize("merged", [False, True])
def test_who_is_erased_is_in_no_file_any_more(location: Location, merged: bool) -> None:
    put_in_pieces(location, of_days(60, 3), 5)
    put(location, "import-1", of_days(9, 3, start=300))
    ends = [archive.archived_until(location, number) for number in (0, 1)]
    if merged:
        archive.compact(location, LATER)
    before = archive.version(location)
    files = len(paths(location))
    assert archive.erase(location, ["c-1", "c-2"])[0] == 46
    assert archive.read(location, ["customer"])["customer"].unique().to_pylist() == ["c-0"]
    assert len(paths(location)) == files
    assert archive.version(location) != before
    archive.compact(location, LATER)
    assert len(ids(location)) == 23
    assert [archive.archived_until(location, number) for number in (0, 1)] == ends


def test_a_file_that_is_emptied_still_says_up_to_where_its_partition_is_archived(location: Location) -> None:
    put(location, "0", [page(1, START, "ann")])
    put(location, "0", [page(2, START + 5, "bob")])
    put(location, "0", [page(3, START + DAY + 7, "bob")])
    archive.erase(location, ["bob"])
    archive.compact(location, LATER)
    assert archive.archived_until(location, 0) == START + DAY + 7
    assert ids(location) == ["m-1"]


def test_who_is_erased_while_files_are_merged_does_not_come_back(tmp_path: Path) -> None:
    customers = [f"c-{number}" for number in range(30)]
    events = [page(at, START + at * (DAY // 100), customers[at % 30]) for at in range(900)]
    put_in_pieces(tmp_path, events, 10)
    over = threading.Event()

    def merge_again_and_again() -> None:
        day = 0
        while not over.is_set():
            day += 1
            archive.compact(tmp_path, START + day * DAY)

    merging = threading.Thread(target=merge_again_and_again)
    merging.start()
    try:
        for customer in customers[:20]:
            archive.erase(tmp_path, [customer])
            assert customer not in archive.read(tmp_path, ["customer"])["customer"].to_pylist()
    finally:
        over.set()
        merging.join()
    assert {*archive.read(tmp_path, ["customer"])["customer"].to_pylist()} == {*customers[20:]}
    assert len(ids(tmp_path)) == 300


def test_what_was_left_half_written_long_ago_goes(tmp_path: Path) -> None:
    import os

    put(tmp_path, "0", [page(1, START)])
    old, young = tmp_path / ".0-1-2.parquet.1-00.tmp", tmp_path / "day=2025-11-23" / ".0-3-4.parquet.2-00.tmp"
    staged = tmp_path / ".import-1.3-00.tmp"
    staged.mkdir()
    for path in (old, young, staged / "import-1-1-2.parquet"):
        path.write_bytes(b"PAR1")
    for path in (old, staged):
        os.utime(path, (0, 0))
    archive.compact(tmp_path, LATER)
    assert (old.exists(), young.exists(), staged.exists()) == (False, True, False)
    assert ids(tmp_path) == ["m-1"]


def test_the_archive_of_a_deployment_can_lie_elsewhere(tmp_path: Path, redis_url: str) -> None:
    home = Home(tmp_path, f"memory://{uuid.uuid4()}/shop")
    deployment = Deployment(home, redis_url)
    events = behave(3, 150, now())
    deployment.live_on(random.Random(3), events)
    deployment.drain()
    deployment.open()
    assert deployment.work(500) == 0
    archive.compact(home.archive, now() + 2 * DAY)
    found = archive.read(home.archive, ["message_id"])["message_id"].to_pylist()
    assert sorted(name for name in found if name.startswith("m-")) == sorted(event.message_id for event in events)
    assert not home.events.exists()
    rebuilt = history.rebuild(home)
    online = deployment.store.read_rows("customer", CUSTOMERS)
    assert rebuilt.customers.keys() == online.keys()
    deployment.close()


@pytest.mark.parametrize("spell", [str, Path.as_uri])
def test_its_place_is_a_setting(tmp_path: Path, spell: Callable[[Path], str]) -> None:
    settings = load({"KAIROS_HOME": str(tmp_path / "home"), "KAIROS_ARCHIVE_URL": spell(tmp_path / "far away")})
    put(settings.home.archive, "0", [page(1, START)])
    assert (tmp_path / "far away" / "day=2025-11-23" / f"0-{START}-{START}.parquet").exists()
    assert settings.archive_url == spell(tmp_path / "far away")


def test_a_place_that_cannot_be_opened_is_refused() -> None:
    with pytest.raises(archive.ArchiveError, match=r"nosuch://bucket/shop"):
        archive.read("nosuch://bucket/shop")


def test_the_command_merges_and_says_so(home: Home) -> None:
    put_in_pieces(home.events, of_days(20, 2), 1)
    command = [sys.executable, "-m", "kairos", "archive", "compact", "--home", str(home.root)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.stdout == "merged 20 files into 2; the archive has 2\n", answer.stderr
