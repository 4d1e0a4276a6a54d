"""Who used the processors: our own processes and everybody else's. Read from /proc; elsewhere than on Linux all is NaN.

Wall-clock figures of a shared machine are its neighbours' too: these say how much.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

PROC = Path("/proc")
NAN = float("nan")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Processor seconds until now: of the whole machine, and of this process with all that it started."""

    at: float
    everyone: float
    ours: float


def ticks() -> int:
    return os.sysconf("SC_CLK_TCK")


def tree_seconds(root: int) -> float:
    """Processor seconds of a process and its descendants, ended and reaped ones included."""
    if not PROC.joinpath("stat").exists():
        return NAN
    parents, used = {}, {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                fields = folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()
            except OSError:  # it ended between the listing and the reading
                continue
            parents[int(folder.name)] = int(fields[1])
            used[int(folder.name)] = sum(map(int, fields[11:15]))  # own user and system time, then reaped children's
    family, grown = {root}, True
    while grown:
        found = {process for process, parent in parents.items() if parent in family} - family
        family |= found
        grown = bool(found)
    return sum(used.get(process, 0) for process in family) / ticks()


def take_usage() -> Usage:
    if not PROC.joinpath("stat").exists():
        return Usage(at=time.monotonic(), everyone=NAN, ours=NAN)
    user, nice, system, _, _, interrupts, soft_interrupts = map(int, (PROC / "stat").read_text().split()[1:8])
    everyone = (user + nice + system + interrupts + soft_interrupts) / ticks()
    return Usage(at=time.monotonic(), everyone=everyone, ours=tree_seconds(os.getpid()))


def others_share(before: Usage, after: Usage) -> float:
    """Processors that others kept busy in between, of `os.cpu_count()`; what the kernel did for us counts as theirs."""
    theirs = (after.everyone - before.everyone) - (after.ours - before.ours)
    return max(0.0, theirs / (after.at - before.at))
