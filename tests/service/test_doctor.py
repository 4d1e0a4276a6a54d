"""`kairos doctor` against what it looks at: healthy, without Redis, with a wrong one, with broken files, nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from features import dead_letters, footprint, stream
from features.aggregates.engine import advance_customer
from features.aggregates.rows import LAYOUTS, blank
from features.events.occurrences import Item, Occurrence
from features.ids import digest
from features.store import OnlineStore
from models.bundle import CHAMPION, DEFAULT_NAME
from service import canary
from service.doctor import examination, terminal
from service.doctor.findings import VERDICTS, Finding, amount, duration, judge, worst
from tests.service import shop
from tests.service.running import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.home import Home
    from features.settings import Settings
    from tests.service.running import Service

CHECKS = [
    "redis",
    "redis persistence",
    "redis memory",
    "redis hashes",
    "worker",
    "features behind events",
    "archive behind events",
    "snapshot",
    "event to decision",
    "dead letters",
    "bytes a customer",
    "other memory",
    "api",
    "catalog",
    "model",
    "archive",
    "history",
    "spilled decisions",
    "disk",
]
"""Every line of the table, in its order."""
Report = dict[str, dict[str, Any]]


def run(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kairos", "doctor", "--home", home.root, *arguments],
        cwd=PROJECT,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )


def ask(home: Home) -> Report:
    """What the command says by check; its exit code must fit."""
    answer = run(home, "--json")
    assert not answer.stderr
    told = msgspec.json.decode(answer.stdout)
    assert told["verdict"] == worst(check["verdict"] for check in told["checks"])
    assert answer.returncode == (told["verdict"] == "problem")
    return {check["check"]: check for check in told["checks"]}


def look(settings: Settings) -> dict[str, Finding]:
    return {finding.check: finding for finding in examination.examine(settings, None)}


def test_a_running_service_is_well(service: Service) -> None:
    service.decide("doctor-1", after=service.track("doctor-1", "Product Viewed", product_id="o-1"))
    service.archived("doctor-1")
    found = ask(service.home)
    assert list(found) == CHECKS
    for name, check in found.items():
        # How fast this machine is at the moment is no matter of the test.
        assert name == "event to decision" or check["verdict"] != "problem", check
    for name in ("redis persistence", "redis memory", "redis hashes", "worker", "catalog", "model", "archive", "api"):
        assert found[name]["verdict"] == "ok", found[name]
    assert found["api"]["figures"]["processes"]
    assert found["model"]["figures"]["model"] == "offers/1"
    assert found["archive"]["figures"]["events"] > 0
    assert found["event to decision"]["figures"]["measurements"] > 0
    assert found["bytes a customer"]["figures"]["by_view"]["customer"] > 100
    assert found["other memory"]["figures"]["streams"] > 0


def test_the_table_has_every_check_with_its_verdict(service: Service) -> None:
    answer = run(service.home)
    for name in CHECKS:
        assert f"│ {name} " in answer.stdout
    assert answer.stdout.splitlines()[0].split() == [
        "Kairos:",
        VERDICTS[answer.returncode * 2 or "warning" in answer.stdout],
    ]


def test_a_redis_that_does_not_answer_is_a_problem_and_the_files_are_looked_at_all_the_same(service: Service) -> None:
    with service.frozen("redis"):
        found = ask(service.home)
    assert found["redis"]["verdict"] == "problem"
    assert "does not answer" in found["redis"]["found"]
    assert "worker" not in found
    for name in ("catalog", "model", "archive", "disk"):
        assert found[name]["verdict"] == "ok"


def test_a_broken_catalog_is_a_problem_with_its_line_and_the_service_says_so_too(service: Service) -> None:
    good = service.home.catalog.read_text()
    try:
        service.home.catalog.write_text(good.replace("default: o-0", "default: nobody"))
        service.everywhere(lambda ready: "catalog" in ready["problems"])
        found = ask(service.home)
    finally:
        service.home.catalog.write_text(good)
        service.everywhere(lambda ready: not ready["problems"])
    for name in ("catalog", "api"):
        assert found[name]["verdict"] == "problem"
        assert "there is no candidate 'nobody'" in found[name]["found"]
    assert ask(service.home)["catalog"]["verdict"] == "ok"


def test_an_api_that_is_gone_is_a_problem(service: Service, home: Home) -> None:
    answer = run(home, "--json", "--api", "http://127.0.0.1:1")
    assert answer.returncode == 1
    elsewhere = run(home, "--json", "--api", str(service.http.base_url))
    assert elsewhere.returncode == 0
    assert '"check": "api",\n      "verdict": "ok"' in elsewhere.stdout


def test_without_anything_running_it_says_so_and_leaves_nothing_behind(home: Home) -> None:
    found = ask(home)
    assert found["redis"]["found"] == "nothing runs on this home"
    assert "kairos up" in found["redis"]["advice"]
    assert {check["verdict"] for check in found.values()} == {"ok", "warning"}
    assert list(home.root.iterdir()) == []


@pytest.fixture
def misconfigured(redis_url: str) -> Iterator[redis.Redis]:
    """A Redis that keeps nothing, evicts and makes tables of small hashes."""
    wrong = {"hash-max-ziplist-value": 64, "appendonly": "no", "maxmemory": "900mb", "maxmemory-policy": "allkeys-lru"}
    with redis.Redis.from_url(redis_url) as client:
        before = {name: client.config_get(name)[name] for name in wrong}
        for name, value in wrong.items():
            client.config_set(name, value)
        yield client
        for name, value in before.items():
            client.config_set(name, value)


@pytest.mark.usefixtures("misconfigured")
def test_a_redis_with_the_wrong_settings_is_told_what_to_set(settings: Settings) -> None:
    found = look(settings)
    for name, verdict, setting in (
        ("redis", "ok", ""),
        ("redis persistence", "problem", "appendonly yes"),
        ("redis memory", "problem", "maxmemory-policy noeviction"),
        ("redis hashes", "warning", "hash-max-ziplist-value 2048"),
    ):
        assert found[name].verdict == verdict
        assert setting in found[name].advice
    assert found["redis hashes"].figures == {"hash_max_ziplist_value": 64}


def test_a_redis_that_does_not_tell_its_settings_is_a_warning(settings: Settings, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "guest", "on", ">guest", "~*", "&*", "+@all", "-config")
        try:
            place = redis_url.rpartition("@")[2]
            found = look(msgspec.structs.replace(settings, redis_url=f"redis://guest:guest@{place}"))
        finally:
            client.execute_command("ACL", "DELUSER", "guest")
    assert found["redis settings"].verdict == "warning"
    assert found["worker"].verdict == "problem"


def test_events_without_a_worker_and_dead_letters_are_found(settings: Settings, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for name in ("features behind events", "archive behind events", "dead letters", "snapshot"):
            assert look(settings)[name].verdict == "ok"
        (arrival,) = stream.append(client, 2, [stream.Message("m-1", b"{}")], time.time())
        client.xadd(dead_letters.STREAM, {"reason": "broken", "payload": "{"})
        found = look(settings)
        assert found["worker"].verdict == "problem"
        assert found["worker"].figures["free"] == [0, 1, 2, 3]
        for name in ("features behind events", "archive behind events"):
            assert list(found[name].figures["by_partition"]) == ["2"]
            assert found[name].figures["oldest_seconds"] <= time.time() - arrival / 1e6
        assert found["dead letters"].figures == {"waiting": 1}
        assert found["dead letters"].verdict == "warning"
        client.set(stream.cursor_key(2), arrival)
        assert look(settings)["features behind events"].figures["by_partition"] == {}
        client.set(stream.REPLAY, "somebody")
        assert look(settings)["worker"].verdict == "warning"


@pytest.mark.parametrize(
    ("seconds", "slow", "verdict"),
    [
        (0.010, 0.100, "ok"),
        (0.0101, 0.100, "warning"),
        (0.101, 0.101, "problem"),
        (0.010, 0.1001, "warning"),
        (0.010, 1.001, "problem"),
    ],
)
def test_freshness_is_judged_by_its_promise(
    settings: Settings, redis_url: str, seconds: float, slow: float, verdict: str
) -> None:
    """Two hundred measurements, of which four are slow, and an old one that does not count any more."""
    now = time.time_ns() // 1000
    ages = [canary.Age(now - number, slow if number % 50 == 0 else seconds) for number in range(200)]
    ages.append(canary.Age(now - 3_600_000_000, 9.0))
    with redis.Redis.from_url(redis_url) as client:
        client.rpush(canary.AGES, *map(msgspec.msgpack.encode, ages))
    found = look(settings)["event to decision"]
    assert found.verdict == verdict
    assert found.figures == {"p50_seconds": seconds, "p99_seconds": slow, "measurements": 200}


def test_freshness_that_was_not_measured_lately_is_a_warning(settings: Settings, redis_url: str) -> None:
    assert look(settings)["event to decision"].found == "not measured"
    with redis.Redis.from_url(redis_url) as client:
        old = canary.Age(time.time_ns() // 1000 - 120_000_000, 0.001)
        client.rpush(canary.AGES, msgspec.msgpack.encode(old))
    found = look(settings)["event to decision"]
    assert (found.verdict, found.found) == ("warning", "last measured 2 min ago")


def write_customers(home: Home, redis_url: str, count: int) -> None:
    rows = []
    for number in range(count):
        row = blank(LAYOUTS["customer"], f"c-{number}")
        for step in range(20):
            item = Item(f"o-{step}", digest(f"o-{step}"), digest("hats"))
            advance_customer(row, Occurrence("Product Viewed", 1e9 + step, (item,)))
        row.applied = 1_000_000_000_000_000
        rows.append(row)
    OnlineStore(home, redis_url).write("customer", rows)


def test_bytes_a_customer_are_those_of_redis_split_by_view(home: Home, settings: Settings, redis_url: str) -> None:
    write_customers(home, redis_url, 300)
    with redis.Redis.from_url(redis_url) as client:
        used = [client.memory_usage(key) for key in client.scan_iter()]
        stored: Any = client.hgetall(OnlineStore(home, redis_url).redis_key("c-7"))
    assert set(stored) <= set(footprint.fields_by_view(home))
    found = look(settings)["bytes a customer"]
    assert found.figures["customers"] == found.figures["sampled"] == 300
    assert found.figures["bytes"] == pytest.approx(sum(used) / 300)
    assert set(found.figures["by_view"]) == {"customer", footprint.TABLE}
    assert sum(found.figures["by_view"].values()) == pytest.approx(found.figures["bytes"])
    assert found.figures["bytes_a_million"] == pytest.approx(found.figures["bytes"] * 1e6)


def test_small_hashes_turned_into_tables_cost_the_bytes_that_the_advice_warns_of(
    home: Home, settings: Settings, redis_url: str, misconfigured: redis.Redis
) -> None:
    write_customers(home, redis_url, 300)
    table = look(settings)["bytes a customer"]
    misconfigured.flushall()
    misconfigured.config_set("hash-max-ziplist-value", 2048)
    write_customers(home, redis_url, 300)
    assert table.figures["bytes"] > look(settings)["bytes a customer"].figures["bytes"] + 100


def test_broken_files_are_problems_that_name_the_file(home: Home) -> None:
    shop.write_catalog(home)
    shop.publish(home, "1")
    home.events.mkdir(parents=True)
    (home.events / "0-1-2.parquet").write_bytes(b"not parquet")
    (home.bundles / DEFAULT_NAME / "1" / "model.txt").write_text("cut off")
    home.spill.mkdir()
    (home.spill / "1.jsonl").write_text("{}\n")
    os.utime(home.spill / "1.jsonl", (0, 0))
    found = ask(home)
    assert "0-1-2.parquet" in found["archive"]["found"]
    assert "model.txt" in found["model"]["found"]
    for name in ("archive", "model", "spilled decisions"):
        assert found[name]["verdict"] == "problem", name


def test_a_model_that_asks_for_unknown_features_is_a_problem(home: Home) -> None:
    from models.signature import Feature, Signature

    shop.publish(home, "1", CHAMPION, Signature((*shop.signature().features, Feature(shop.REFUSED))))
    found = ask(home)["model"]
    assert found["verdict"] == "problem"
    assert shop.REFUSED in found["found"]


def test_a_look_that_fails_is_a_finding_and_the_others_go_on(home: Home) -> None:
    home.bundles.write_text("a file where a folder belongs")
    home.events.parent.mkdir()
    home.events.mkdir()
    (home.events / "x.parquet").mkdir()
    found = ask(home)
    assert found["archive"]["verdict"] == "problem"
    assert found["disk"]["verdict"] in VERDICTS


@given(value=st.floats(0, 1e9), first=st.floats(0, 1e9), second=st.floats(0, 1e9))
def test_verdicts_grow_with_what_is_judged(value: float, first: float, second: float) -> None:
    warning, problem = sorted((first, second))
    verdict = judge(value, warning, problem)
    assert VERDICTS.index(verdict) <= VERDICTS.index(judge(value * 2 + 1, warning, problem))
    assert (verdict == "ok") == (value <= warning)


def test_figures_read_well() -> None:
    assert [duration(seconds) for seconds in (0.0042, 1.5, 90, 7200, 172_800)] == [
        "4.2 ms",
        "1.5 s",
        "1.5 min",
        "2 h",
        "2 d",
    ]
    assert [amount(size) for size in (12, 2048, 5 << 20, 3 << 30)] == ["12 B", "2 KiB", "5 MiB", "3 GiB"]
    told = msgspec.json.decode(terminal.encode([Finding(check="a", verdict="warning", found="b")]))
    assert told == {
        "verdict": "warning",
        "checks": [{"check": "a", "verdict": "warning", "found": "b", "advice": "", "figures": {}}],
    }
