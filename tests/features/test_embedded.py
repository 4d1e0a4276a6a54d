"""The embedded Redis and the home's lock, with real servers and real folders."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import redis

from features import embedded
from features.home import VERSION, Home
from features.occupancy import Run, UnavailableError, announce, occupy, read_run
from features.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server(home: Home) -> Iterator[embedded.Server]:
    server = embedded.start(home)
    yield server
    embedded.stop(server)


def server_that_says(folder: Path, version: str) -> None:
    """A program named redis-server that only tells its version."""
    program = folder / "redis-server"
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_a_second_start_goes_on_with_the_data_of_the_first(home: Home) -> None:
    for number in range(3):
        server = embedded.start(home)
        with redis.Redis.from_url(server.url) as client:
            assert client.incr("starts") == number + 1
        embedded.stop(server)


def test_what_a_killed_server_acknowledged_is_there_at_the_next_start(home: Home) -> None:
    server = embedded.start(home)
    with redis.Redis.from_url(server.url) as client:
        for number in range(2000):
            client.rpush("list", number)
        server.process.kill()
        server.process.wait()
    server = embedded.start(home)
    with redis.Redis.from_url(server.url) as client:
        assert client.llen("list") == 2000
    embedded.stop(server)


def test_the_server_keeps_a_log_of_writes_and_never_evicts(server: embedded.Server) -> None:
    expected = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "hash-max-ziplist-value": "2048",
        "bind": "127.0.0.1",
    }
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert {name: client.config_get(name)[name] for name in expected} == expected


def test_a_hash_with_packed_values_stays_compact(server: embedded.Server) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.hset("row", mapping={"packed": b"x" * 2048})
        assert client.object("encoding", "row") in {b"ziplist", b"listpack"}
        client.hset("row", mapping={"packed": b"x" * 2049})
        assert client.object("encoding", "row") == b"hashtable"


def test_the_password_is_needed_and_stands_on_no_command_line_and_in_no_file(
    home: Home, server: embedded.Server
) -> None:
    with redis.Redis(port=server.address.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    password = server.address.password.encode()
    assert password not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    assert not [path for path in home.root.rglob("*") if path.is_file() and password in path.read_bytes()]


def test_a_frozen_server_is_ended_too(home: Home) -> None:
    server = embedded.start(home)
    server.process.send_signal(signal.SIGSTOP)
    embedded.stop(server, patience=0.2)
    assert server.process.returncode == -signal.SIGKILL


def test_a_server_that_cannot_start_tells_the_end_of_its_log(home: Home) -> None:
    home.redis.mkdir()
    (home.redis / "appendonly.aof").write_bytes(b"this is no log of writes")
    with pytest.raises(UnavailableError, match=r"does not start .*redis\.log"):
        embedded.start(home)


def test_an_old_server_on_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_that_says(tmp_path, "5.0.7")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert embedded.find().parent != tmp_path
    server_that_says(tmp_path, "7.0.15")
    assert embedded.find().parent == tmp_path


def test_without_any_server_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UnavailableError, match="apt install redis-server"):
        embedded.find()


def test_data_of_a_newer_server_is_not_opened_by_an_older_one(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_that_says(tmp_path, "6.2.14")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (home.redis / "appendonlydir").mkdir(parents=True)
    with pytest.raises(UnavailableError, match="install a newer Redis"):
        embedded.start(home)


def test_reach_uses_the_redis_of_the_settings(settings: Settings) -> None:
    with embedded.reach(settings) as url:
        assert url == settings.redis_url
    assert not settings.home.redis.exists()


def test_reach_uses_the_redis_of_a_running_up(home: Home, redis_url: str) -> None:
    run = Run(pid=os.getpid(), redis_url=redis_url, api_url="http://127.0.0.1:1")
    with announce(home, run), embedded.reach(Settings(home=home)) as url:
        assert url == redis_url
    assert not home.run_file.exists()


def test_reach_starts_and_stops_a_redis_when_none_runs(home: Home) -> None:
    with embedded.reach(Settings(home=home)) as url:
        assert embedded.probe(url) is None
        assert home.version_file.read_text() == f"{VERSION}\n"
    assert embedded.probe(url) is not None


def test_the_run_file_of_a_killed_up_does_not_count(home: Home) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    home.run_file.write_bytes(
        msgspec.json.encode(Run(pid=ended.pid, redis_url="redis://127.0.0.1:1", api_url="http://127.0.0.1:1"))
    )
    assert read_run(home) is None
    with embedded.reach(Settings(home=home)) as url:
        assert embedded.probe(url) is None


def test_a_redis_that_does_not_answer_is_named_without_its_password(home: Home) -> None:
    settings = Settings(home=home, redis_url="redis://:secret@127.0.0.1:1/0")
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 does not answer") as caught, embedded.reach(settings):
        pass
    assert "secret" not in str(caught.value)


def test_what_is_no_redis_url_is_refused(home: Home) -> None:
    with (
        pytest.raises(UnavailableError, match="does not answer: Redis URL must"),
        embedded.reach(Settings(home=home, redis_url="localhost:6379")),
    ):
        pass


def test_a_home_in_use_is_refused_by_naming_the_process(home: Home) -> None:
    with occupy(home), pytest.raises(UnavailableError, match=f"in use by process {os.getpid()}"), occupy(home):
        pass
    with occupy(home):
        pass


def test_the_parts_of_a_killed_process_are_waited_for(home: Home) -> None:
    """An orphan that inherited the lock keeps the home until it ends."""
    program = (
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "from features.home import Home\n"
        "from features.occupancy import occupy\n"
        "with occupy(Home(Path(sys.argv[1]))) as lock:\n"
        "    orphan = subprocess.Popen(['sleep', '600'], pass_fds=(lock,), stdout=subprocess.DEVNULL)\n"
        "    print(orphan.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, home.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        orphan = int(holder.stdout.readline())
        holder.kill()
    with pytest.raises(UnavailableError, match="still held"), occupy(home, patience=0.1):
        pass
    os.kill(orphan, signal.SIGKILL)
    with occupy(home):
        pass


@pytest.mark.parametrize("text", [f"{VERSION + 1}\n", "one\n"])
def test_a_home_of_an_unknown_version_is_refused_and_left_alone(home: Home, text: str) -> None:
    home.version_file.write_text(text)
    with pytest.raises(UnavailableError, match=r"version|number"), embedded.reach(Settings(home=home)):
        pass
    assert home.version_file.read_text() == text
    assert not home.redis.exists()
