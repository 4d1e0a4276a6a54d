"""`kairos demo` from its first line to its last, with a small crowd, against a real deployment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from features.occupancy import read_run

if TYPE_CHECKING:
    from features.home import Home

PROGRAM = """
import sys
from pathlib import Path
from training.demonstration import run_demo
from training.simulation.deployment import DemoError
try:
    print("ended with", run_demo(Path(sys.argv[1]), once=True, visits=(400, 60)))
except DemoError as error:
    print("refused:", error)
"""


def play(home: Home) -> list[str]:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(home.root)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "120"},
    )
    return answer.stdout.splitlines()


@pytest.fixture
def lines(home: Home) -> list[str]:
    return play(home)


def test_the_demo_explores_trains_compares_explains_and_stops_everything(home: Home, lines: list[str]) -> None:
    text = "\n".join(lines)
    assert "all simulated" in text
    assert "1,600/1,600" in text or "1600/1600" in text
    assert "labels: logged" in text
    assert "home-grid 4" in text
    assert "raises" in text
    summary = text.partition("What the demo measured (in a simulated world)")[2]
    for measured in (
        "click rate, uniform",
        "click rate, trained",
        "click rate, oracle",
        "event to decision",
        "offers 1",
    ):
        assert measured in summary
    assert "nan" not in summary
    assert lines[-1] in ("ended with 0", "ended with 1")
    assert (lines[-1] == "ended with 1") == ("did not beat the uniform one" in summary)
    assert read_run(home) is None
