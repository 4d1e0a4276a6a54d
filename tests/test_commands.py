"""The command line as a user meets it."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import kairos
from features.home import VERSION
from training.versions.commands import ELSEWHERE

if TYPE_CHECKING:
    from pathlib import Path

    from features.home import Home

HEAVY = ("feast", "mlflow", "lightgbm", "pandas", "numpy", "litestar", "matplotlib", "duckdb", "redis")


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kairos", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_lists_every_verb_with_its_line() -> None:
    answer = run("--help", COLUMNS="100")
    assert answer.returncode == 0
    for verb, (_, line) in kairos.VERBS.items():
        assert f"│ {verb} " in answer.stdout
        assert line in answer.stdout


def test_who_has_read_enough_gets_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "kairos", "catalog", "schema"]
    answer = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (kairos.CUT_OFF, "")


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["serve", "--help"], ["worker", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        f"import sys, kairos; kairos.build({arguments})({arguments}, result_action='return_value');"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", ["up", "serve", "worker"])
def test_the_line_in_the_list_is_the_first_of_the_verbs_docstring(verb: str) -> None:
    target, line = kairos.VERBS[verb]
    module, _, name = target.partition(":")
    assert getattr(importlib.import_module(module), name).__doc__.splitlines()[0] == line


@pytest.mark.parametrize("verb", list(ELSEWHERE))
def test_verbs_of_models_that_live_elsewhere_are_listed_with_the_first_line_of_their_docstring(verb: str) -> None:
    target, line = ELSEWHERE[verb]
    module, _, name = target.partition(":")
    assert getattr(importlib.import_module(module), name).__doc__.splitlines()[0] == line
    assert line in run("models", "--help", COLUMNS="160").stdout


def test_the_version_is_printed() -> None:
    answer = run("--version")
    assert answer.returncode == 0
    assert answer.stdout.strip()[0].isdigit()


def test_a_port_in_use_is_one_line_and_starts_nothing(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = run("up", "--home", home.root, "--port", str(port))
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        f"kairos: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another with --port or --host"
    ]
    assert not home.redis.exists()


def test_a_home_of_a_newer_version_is_one_line_and_left_alone(home: Home) -> None:
    home.version_file.write_text(f"{VERSION + 1}\n")
    for verb in ("up", "serve", "worker"):
        answer = run(verb, "--home", home.root)
        assert answer.returncode == 1
        assert len(answer.stderr.splitlines()) == 1
        assert f"has version {VERSION + 1}" in answer.stderr
    assert [path.name for path in home.root.iterdir()] == ["VERSION"]


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    answer = run("up", "--home", file / "home")
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "choose another with --home" in answer.stderr


@pytest.mark.parametrize("verb", ["serve", "worker"])
def test_parts_without_a_redis_say_how_to_get_one(home: Home, verb: str) -> None:
    answer = run(verb, "--home", home.root)
    assert answer.returncode == 1
    assert "set KAIROS_REDIS_URL, or start `kairos up`" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
