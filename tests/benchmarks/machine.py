"""Who used processors and memory: our own processes and everybody else's. Read from /proc; elsewhere all is NaN.

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
    # own user and system time, then reaped children's
    return sum(sum(map(int, fields[11:15])) for fields in family(root).values()) / ticks() if has_proc() else NAN


def tree_bytes(root: int) -> float:
    """Memory of a process and its descendants right now; what several of them share counts once."""
    if not has_proc():
        return NAN
    kilobytes = 0
    for process in family(root):
        try:
            told = PROC.joinpath(str(process), "smaps_rollup").read_text()
        except OSError:  # it has ended
            continue
        kilobytes += sum(int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:"))
    return kilobytes * 1024.0


def family(root: int) -> dict[int, list[str]]:
    """A process and its descendants: the fields of its stat from the state on."""
    told: dict[int, list[str]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                told[int(folder.name)] = folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()
            except OSError:  # it ended between the listing and the reading
                continue
    members, grown = {root}, True
    while grown:
        found = {process for process, fields in told.items() if int(fields[1]) in members} - members
        members |= found
        grown = bool(found)
    return {process: told[process] for process in members if process in told}


def has_proc() -> bool:
    return PROC.joinpath("stat").exists()


def take_usage() -> Usage:
    if not has_proc():
        return Usage(at=time.monotonic(), everyone=NAN, ours=NAN)
    user, nice, system, _, _, interrupts, soft_interrupts = map(int, (PROC / "stat").read_text().split()[1:8])
    everyone = (user + nice + system + interrupts + soft_interrupts) / ticks()
    return Usage(at=time.monotonic(), everyone=everyone, ours=tree_seconds(os.getpid()))


def others_share(before: Usage, after: Usage) -> float:
    """Processors that others kept busy in between, of `os.cpu_count()`; what the kernel did for us counts as theirs."""
    theirs = (after.everyone - before.everyone) - (after.ours - before.ours)
    return max(0.0, theirs / (after.at - before.at))
