"""`kairos import`, `replay` and `env` as a user runs them, and the real data sets by the mappings in examples/."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pytest
import yaml
from redis import Redis

from features import archive
from features.imports import importing
from features.occupancy import Run, announce
from features.redis_urls import connection_string
from features.store import OnlineStore
from tests.features.imported import NOW, ORDERS, VIEWS, digest, views, write

if TYPE_CHECKING:
    from features.home import Home

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


def kairos(home: Home, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kairos", *arguments, "--home", home.root],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def test_an_import_ends_in_the_online_store_and_says_what_it_did(home: Home, tmp_path: Path, redis_url: str) -> None:
    file = write(tmp_path / "a.csv", [*views("abc"), *views("d", who="")])
    mapping = tmp_path / "views.yaml"
    mapping.write_text(VIEWS)
    first = kairos(home, "import", file, "--mapping", mapping, KAIROS_REDIS_URL=redis_url)
    assert first.returncode == 0, first.stderr
    for line in ("rows read 4", "accepted 3", "no customer 1", "new events 3", "customers 1"):
        assert line in " ".join(first.stdout.split())
    assert str(home.rejected) in first.stdout
    [row] = OnlineStore(home, redis_url).read("customer", ["c-1"])
    assert row is not None
    before = digest(home)
    second = kairos(home, "import", file, "--mapping", mapping, KAIROS_REDIS_URL=redis_url)
    assert "events known already 3" in " ".join(second.stdout.split())
    assert "Nothing is new" in second.stdout
    assert digest(home) == before


def test_a_replay_fills_an_empty_store_again(home: Home, tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "views.yaml").write_text(VIEWS)
    importing.import_files(home, [write(tmp_path / "a.csv", views("abc"))], tmp_path / "views.yaml", NOW)
    answer = kairos(home, "replay", KAIROS_REDIS_URL=redis_url)
    assert answer.returncode == 0, answer.stderr
    assert "events 3" in " ".join(answer.stdout.split())
    store = OnlineStore(home, redis_url)
    [before] = store.read("customer", ["c-1"])
    with Redis.from_url(redis_url) as client:
        client.flushall()
    assert store.read("customer", ["c-1"]) == [None]
    assert kairos(home, "replay", KAIROS_REDIS_URL=redis_url).returncode == 0
    [after] = store.read("customer", ["c-1"])
    assert before is not None
    assert after is not None
    assert [*after.numbers] == [*before.numbers]


def test_a_refused_mapping_is_said_without_a_traceback_and_changes_nothing(home: Home, tmp_path: Path) -> None:
    (tmp_path / "orders.yaml").write_text(ORDERS.replace("group:", "grop:"))
    answer = kairos(home, "import", write(tmp_path / "a.csv", views("a")), "--mapping", tmp_path / "orders.yaml")
    assert answer.returncode == 1
    assert re.search(r"orders\.yaml:\d+:\d+: grop", answer.stderr)
    assert "Traceback" not in answer.stderr
    assert archive.files(home.events) == []


@pytest.mark.parametrize("how", ["environment", "running"])
def test_env_prints_what_feast_needs(home: Home, how: str) -> None:
    url = "redis://:a 'secret'@127.0.0.1:7000/1"
    if how == "environment":
        answer = kairos(home, "env", KAIROS_REDIS_URL=url)
    else:
        with announce(home, Run(pid=os.getpid(), redis_url=url, api_url="http://127.0.0.1:1")):
            answer = kairos(home, "env")
    assert answer.returncode == 0, answer.stderr
    variables = dict(word.split("=", 1) for word in shlex.split(answer.stdout) if "=" in word)
    assert variables == {
        "KAIROS_HOME": str(home.root),
        "KAIROS_FEAST_REGISTRY": str(home.registry),
        "KAIROS_FEAST_REDIS": connection_string(url),
    }


def test_env_says_what_to_do_when_nothing_runs(home: Home) -> None:
    answer = kairos(home, "env")
    assert answer.returncode == 1
    assert f"export KAIROS_HOME={home.root}" in answer.stdout
    assert "kairos up" in answer.stderr
    assert "KAIROS_REDIS_URL" in answer.stderr


@pytest.mark.parametrize(
    ("data", "example", "expected", "rejected"),
    [
        (
            "online_retail",
            "online_retail.yaml",
            {"rows": 541_909, "accepted": 396_337, "events": 18_432, "customers": 4_334, "candidates": 3_659},
            {"no customer", "cancelled", "not a product", "no price"},
        ),
        (
            "eshop_clothing_2008",
            "eshop_clothing.yaml",
            {"rows": 165_474, "accepted": 165_474, "events": 165_474, "customers": 24_026, "candidates": 217},
            set(),
        ),
    ],
)
def test_real_data_import_as_its_protocol_counts(
    home: Home, data: str, example: str, expected: dict[str, int], rejected: set[str]
) -> None:
    if not (DATA / data).exists():
        pytest.skip(f"the data set {data} is not in {DATA}")
    summary = importing.import_files(home, [DATA / data], ROOT / "examples" / example, NOW)
    assert {name: getattr(summary, name) for name in expected} == expected
    assert summary.rejected.keys() == rejected
    assert summary.rows == summary.accepted + sum(summary.rejected.values())
    table = archive.read(home.events, ["arrival", "customer", "type"], types=["track"])
    pairs = table.group_by(["customer", "arrival"]).aggregate([([], "count_all")])
    assert pc.max(pairs["count_all"]).as_py() == 1
    candidates = yaml.load(home.catalog.read_text(), Loader=yaml.CSafeLoader)["candidates"]
    assert len({candidate["id"] for candidate in candidates}) == expected["candidates"]
    categories = {candidate["category"] for candidate in candidates}
    assert len(categories) == 4 if data == "eshop_clothing_2008" else 150 <= len(categories) <= 250
