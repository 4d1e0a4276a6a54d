"""Trainings follow each other whatever becomes of them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from training import schedule
from training.commands import train
from training.labels import TrainingError

if TYPE_CHECKING:
    from features.home import Home


def test_a_schedule_survives_what_fails_what_is_refused_and_what_is_killed(home: Home) -> None:
    """Four real processes: one that ends well, one that fails, one that a gate refused, one that is killed."""
    endings = iter(["0", "1", "3", "__import__('os').kill(__import__('os').getpid(), 9)"])

    def run(command: list[str]) -> int:
        assert command[1:] == ["-m", "kairos", "train", "--home", str(home.root)]
        return subprocess.call([sys.executable, "-c", f"raise SystemExit({next(endings)})"])

    waits: list[float] = []
    repeated = schedule.repeat(["--home", str(home.root)], 3600.0, waits.append, run)
    ended = list(itertools.islice(repeated, 4))
    assert [it.code for it in ended] == [0, 1, 3, -9]
    assert [it.word for it in ended] == ["trained", "refused", "kept the champion", "failed (exit code -9)"]
    assert len(waits) == 3
    assert all(3000.0 < wait <= 3600.0 for wait in waits)


def test_a_real_training_that_finds_nothing_is_told(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    assert next(schedule.repeat(["--home", str(home.root)], 0.0)).word == "refused"
    assert capfd.readouterr().err.count("no 'Order Completed' events in the archive") == 1


def test_after_a_training_the_champions_health_is_looked_at_in_a_process_of_its_own(
    home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    assert schedule.look_after(home.root, "hats") == 1
    assert "there is no model hats/champion" in capfd.readouterr().err


def test_a_schedule_that_is_no_duration_is_refused() -> None:
    with pytest.raises(TrainingError, match="--every: 'often' is no duration"):
        train(every="often")
    with pytest.raises(TrainingError, match="--every 0s: trainings without end"):
        train(every="0s")
