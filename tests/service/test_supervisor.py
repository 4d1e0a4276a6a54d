"""The process tree with real processes: started, killed, restarted and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import redis

from features.occupancy import Run, is_alive, read_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from features.home import Home
    from tests.conftest import Until

PROJECT = Path(__file__).parents[2]
SMALL_PARTS = Path(__file__).with_name("small_parts.py")


class Tree(msgspec.Struct):
    """A running tree and what it wrote."""

    home: Home
    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def journal(self) -> list[str]:
        path = self.home.root / "journal"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self, part: str) -> list[int]:
        """Process ids that the part has had, oldest first."""
        return [int(line.split()[-1]) for line in self.journal() if line.startswith(f"{part} started")]

    def run(self) -> Run:
        run = read_run(self.home)
        assert run
        return run


@pytest.fixture
def grow(home: Home, until: Until) -> Iterator[Callable[..., Tree]]:
    """Starts trees on the home; ends what a failed test leaves."""
    grown: list[Tree] = []

    def start(*mode: str, ready: bool = True, command: Sequence[str | Path] = (SMALL_PARTS,)) -> Tree:
        output = home.root / f"output-{len(grown)}"
        before = len(grown[-1].pids("worker")) if grown else 0
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *command, home.root, *mode],
                cwd=PROJECT,
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        tree = Tree(home, process, output)
        grown.append(tree)
        if ready:
            until(lambda: process.poll() is not None or "Kairos is ready" in tree.said(), seconds=180)
            assert process.poll() is None, tree.said()
            if command == (SMALL_PARTS,):  # the API is what is waited for; its worker may still be on its way
                until(lambda: len(tree.pids("worker")) > before)
        return tree

    yield start
    for tree in grown:
        tree.process.kill()
        tree.process.wait()


def redis_pid(tree: Tree) -> int:
    with redis.Redis.from_url(tree.run().redis_url) as client:
        return int(client.info("server")["process_id"])


def test_sigterm_stops_api_then_worker_then_redis_and_exits_0(grow: Callable[..., Tree]) -> None:
    tree = grow()
    server, url = redis_pid(tree), tree.run().redis_url
    tree.process.send_signal(signal.SIGTERM)
    assert tree.process.wait(30) == 0
    ends = [line.rsplit(" ", 1)[0] for line in tree.journal() if " ended" in line]
    assert set(ends[:2]) == {"api-0 ended", "api-1 ended"}
    assert ends[2:] == ["worker ended"]
    assert not is_alive(server)
    assert not tree.home.run_file.exists()
    assert url not in tree.said()
    again = grow()
    with redis.Redis.from_url(again.run().redis_url) as client:
        assert client.get("last words of the worker") == b"0"


def test_ctrl_c_in_the_terminal_drains_in_order_too(grow: Callable[..., Tree]) -> None:
    tree = grow()
    os.killpg(tree.process.pid, signal.SIGINT)
    assert tree.process.wait(30) == 0
    assert tree.journal()[-1].startswith("worker ended")
    assert "Traceback" not in tree.said()


def test_the_run_file_says_how_to_reach_the_parts_and_is_private(grow: Callable[..., Tree]) -> None:
    tree = grow()
    run = tree.run()
    assert run.pid == tree.process.pid
    assert f"Kairos is ready at {run.api_url}" in tree.said()
    assert tree.home.run_file.stat().st_mode & 0o777 == 0o600
    with urllib.request.urlopen(f"{run.api_url}/ready") as answer:  # noqa: S310
        assert answer.status == 200


@pytest.mark.parametrize("part", ["api-0", "worker"])
def test_a_killed_part_is_started_again_and_the_terminal_says_so(
    grow: Callable[..., Tree], until: Until, part: str
) -> None:
    tree = grow()
    os.kill(tree.pids(part)[0], signal.SIGKILL)
    until(lambda: len(tree.pids(part)) == 2)
    until(lambda: f"{part} is started again (process {tree.pids(part)[1]})" in tree.said())
    assert f"{part} ended (killed by SIGKILL); next start in 0.5 s" in tree.said()
    with urllib.request.urlopen(f"{tree.run().api_url}/ready") as answer:  # noqa: S310
        assert answer.status == 200


def test_the_delay_grows_while_a_part_keeps_ending(grow: Callable[..., Tree], until: Until) -> None:
    tree = grow()
    os.kill(tree.pids("worker")[0], signal.SIGKILL)
    until(lambda: len(tree.pids("worker")) == 2)
    os.kill(tree.pids("worker")[1], signal.SIGKILL)
    until(lambda: len(tree.pids("worker")) == 3)
    assert "next start in 0.5 s" in tree.said()
    assert "next start in 1 s" in tree.said()


def test_a_killed_redis_comes_back_at_its_address_with_its_data(grow: Callable[..., Tree], until: Until) -> None:
    tree = grow()
    before, url = redis_pid(tree), tree.run().redis_url
    with redis.Redis.from_url(url) as client:
        for number in range(1000):
            client.set(f"key-{number}", number)
        os.kill(before, signal.SIGKILL)
        until(lambda: "redis is started again" in tree.said())

        def comes_back() -> bool:
            try:
                return bool(client.dbsize() == 1000)
            except redis.ConnectionError:
                return False

        until(comes_back)
    assert redis_pid(tree) != before


def test_a_killed_supervisor_leaves_nothing_running_and_the_next_start_works(
    grow: Callable[..., Tree], until: Until
) -> None:
    tree = grow()
    pids = [redis_pid(tree), *(tree.pids(part)[0] for part in ("api-0", "api-1", "worker"))]
    with redis.Redis.from_url(tree.run().redis_url) as client:
        client.set("acknowledged", "yes")
    tree.process.kill()
    tree.process.wait()
    again = grow()  # at once: it waits for the orphans by itself
    until(lambda: not any(is_alive(pid) for pid in pids))
    with redis.Redis.from_url(again.run().redis_url) as client:
        assert client.get("acknowledged") == b"yes"


def test_a_home_in_use_is_refused_by_naming_the_process(grow: Callable[..., Tree]) -> None:
    tree = grow()
    second = subprocess.run(
        [sys.executable, "-m", "kairos", "up", "--home", tree.home.root, "--port", "0"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"in use by process {tree.process.pid}" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert tree.run().pid == tree.process.pid


def test_a_part_that_does_not_drain_is_killed_in_the_end(grow: Callable[..., Tree], until: Until) -> None:
    tree = grow("stubborn")
    worker, port = tree.pids("worker")[0], int(tree.run().api_url.rpartition(":")[2])

    def refuses() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return True
        return False

    tree.process.send_signal(signal.SIGTERM)
    until(refuses)
    assert is_alive(worker)
    assert tree.process.wait(60) == 0
    assert "worker did not stop: killed" in tree.said()
    assert not is_alive(worker)


def test_a_second_ctrl_c_does_not_wait(grow: Callable[..., Tree], until: Until) -> None:
    tree = grow("stubborn")
    tree.process.send_signal(signal.SIGINT)
    until(lambda: any(line.startswith("api-1 ended") for line in tree.journal()))
    tree.process.send_signal(signal.SIGINT)
    assert tree.process.wait(60) == 0
    assert "worker did not stop: killed" in tree.said()


def test_a_refused_part_ends_the_start_with_its_message(grow: Callable[..., Tree]) -> None:
    tree = grow("refused", ready=False)
    assert tree.process.wait(30) == 1
    assert "the worker cannot work like this" in tree.said()
    assert "Traceback" not in tree.said()
    assert not tree.home.run_file.exists()


def test_parts_run_apart_against_the_redis_of_a_running_up(grow: Callable[..., Tree], until: Until) -> None:
    tree = grow()
    apart = [grow("serve", ready=False), grow("work", ready=False)]
    until(lambda: len(tree.pids("worker")) == 2)
    until(lambda: "Kairos is ready" in apart[0].said())
    assert "the worker is running" in apart[1].said()
    for part in apart:
        part.process.send_signal(signal.SIGTERM)
        assert part.process.wait(30) == 0, part.said()
    with redis.Redis.from_url(tree.run().redis_url) as client:
        assert client.get("last words of the worker") == b"0"


def test_the_real_parts_are_loaded_without_a_thread_and_stop_without_a_word(grow: Callable[..., Tree]) -> None:
    tree = grow(command=["-m", "kairos", "up", "--port", "0", "--home"])
    tree.process.send_signal(signal.SIGTERM)
    assert tree.process.wait(60) == 0
    said = [line.partition("  ")[2] for line in tree.said().splitlines()]
    assert said[0] == f"starting in {tree.home.root}"
    assert said[1].startswith("Kairos is ready at ")  # between them would stand a warning of threads
    assert said[-2:] == ["stopping", "stopped"]
