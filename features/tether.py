"""Ties a process's life to that of the process which started it, so that a killed supervisor leaves nothing running.

Run as a script it ties itself and becomes the given program: `python -I -S tether.py PARENT_PID PROGRAM ARGUMENTS...`.
Only Linux can do this; elsewhere a kill -9 of the parent leaves its children to be ended by hand.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tie(parent: int) -> None:
    """Have the kernel kill this process when the thread of `parent` that started it ends, however it ends.

    SIGKILL, as a stopped or hanging process would not answer to less; what Redis acknowledged has left it by then.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the kernel was told


def command(program: list[str]) -> list[str]:
    """The command line that runs `program` tied to this process; unlike preexec_fn it is safe beside threads."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *program]


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  # becoming that program is what this script is for
