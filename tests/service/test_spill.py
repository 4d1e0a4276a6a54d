"""Decisions kept on disk while Redis is away: bounded, and appended by whoever lives."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from service.decisions.spill import Spill

PROJECT = Path(__file__).parents[2]


class Away(Exception):  # noqa: N818  # not an error of ours
    """Redis goes away."""


def drained(spill: Spill, fail_after: int = -1) -> list[bytes]:
    """What is handed over; it fails after so many batches."""
    taken: list[bytes] = []
    batches = 0

    async def append(lines: list[bytes]) -> None:
        nonlocal batches
        if batches == fail_after:
            raise Away
        batches += 1
        taken.extend(lines)

    asyncio.run(spill.drain(append))
    return taken


def test_what_is_kept_is_handed_over_once_in_order(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill", 100)
    assert not spill.waiting()
    for number in range(3):
        spill.keep(b"%d" % number)
    assert spill.waiting()
    assert drained(spill) == [b"0\n", b"1\n", b"2\n"]
    assert not spill.waiting()
    spill.keep(b"3")
    assert drained(spill) == [b"3\n"]
    assert drained(spill) == []
    spill.close()
    assert list((tmp_path / "spill").iterdir()) == []


def test_nothing_is_lost_when_redis_goes_away_in_between(tmp_path: Path) -> None:
    spill = Spill(tmp_path, 10_000)
    for number in range(6):
        spill.keep(str(number).encode() * 700_000)  # more than a batch
    with pytest.raises(Away):
        drained(spill, fail_after=1)
    assert spill.waiting()
    assert [line[:1] for line in drained(spill)] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    spill.close()


def test_beyond_its_bound_it_keeps_nothing_until_it_was_emptied(tmp_path: Path) -> None:
    spill = Spill(tmp_path, 2)
    for number in range(5):
        spill.keep(b"%d" % number)
    assert drained(spill) == [b"0\n", b"1\n"]
    spill.keep(b"5")
    assert drained(spill) == [b"5\n"]
    spill.close()


def test_files_of_the_dead_are_taken_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    keep = f"""
import pathlib, sys
from service.decisions.spill import Spill
spill = Spill(pathlib.Path({str(tmp_path)!r}), 10)
spill.keep(b"from another process")
print("kept", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", keep], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"kept\n"
        mine = Spill(tmp_path, 10)
        assert drained(mine) == []
        other.kill()
    assert mine.waiting()
    assert drained(mine) == [b"from another process\n"]
    assert not mine.waiting()
    mine.close()


def test_a_disk_that_takes_nothing_costs_the_decision_and_not_the_answer(tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("a file where the folder should be")
    spill = Spill(tmp_path / "spill", 10)
    spill.keep(b"lost")
    assert not spill.waiting()
    spill.close()
