"""`kairos train` and `kairos demo` as a user meets them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import kairos
from training import commands

if TYPE_CHECKING:
    from features.home import Home

HEAVY = ("feast", "mlflow", "lightgbm", "pandas", "numpy", "matplotlib", "duckdb", "redis", "uvloop")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kairos", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", ["train", "demo"])
def test_help_imports_nothing_heavy(verb: str) -> None:
    program = (
        f"import sys, kairos; kairos.build(['{verb}'])(['{verb}', '--help'], result_action='return_value');"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", ["train", "demo"])
def test_the_line_in_the_list_of_verbs_is_the_first_of_the_docstring(verb: str) -> None:
    assert (getattr(commands, verb).__doc__ or "").splitlines()[0] == kairos.VERBS[verb][1]


def test_an_empty_home_is_one_line_and_registers_nothing(home: Home) -> None:
    answer = run("train", "--home", home.root)
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "no 'Order Completed' events in the archive" in answer.stderr
    assert "Traceback" not in answer.stdout
    assert not home.bundles.exists()
    assert not (home.root / "mlflow").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--labels", "guessed"),
        ("--test-from", "soon"),
        ("--candidates", "1"),
        ("--negatives", "0"),
        ("--trees", "0"),
        ("--name", "../offers"),
        ("--name", "a/b"),
        ("--alias", "5"),
        ("--alias", "v5"),
        ("--alias", "latest"),
    ],
)
def test_options_that_make_no_sense_are_refused(home: Home, option: str, value: str) -> None:
    answer = run("train", "--home", home.root, option, value)
    assert answer.returncode == 2
    assert option in answer.stdout + answer.stderr


@pytest.mark.parametrize("alias", ["7", "latest", "../champion"])
def test_an_alias_that_would_be_taken_for_a_version_is_not_given(home: Home, alias: str) -> None:
    answer = run("models", "promote", "1", "--alias", alias, "--home", home.root)
    assert answer.returncode == 2
    assert "--alias" in answer.stdout + answer.stderr
