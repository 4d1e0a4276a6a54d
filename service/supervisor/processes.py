"""The processes that a supervisor runs: children forked from it, and programs (subprocess.Popen fits as it is)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn, Protocol

from features import refusal, tether
from service.supervisor.signals import WATCHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Process(Protocol):
    """What a supervisor needs of a running part."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """The exit code when it has ended (negative: killed by that signal), else None."""

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Forked:
    """A child made by `fork`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:  # an unreaped child keeps its id, so this cannot meet a stranger
            os.kill(self.pid, number)


def fork(run: Callable[[], None]) -> Forked:
    """Call `run` in a child of its own session, tied to this process; the child exits 0 when it returns.

    Only for a process of one thread: locks held by others would stay locked in the child for ever.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    with _blocked():
        pid = os.fork()
        if not pid:
            _live(run, parent)
    return Forked(pid)


def threads() -> list[str]:
    """Names of this process's threads; empty where the system does not tell."""
    names = []
    with contextlib.suppress(FileNotFoundError):
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208  # ids of threads, not files
            with open(f"/proc/self/task/{task}/comm") as file:  # noqa: PTH123
                names.append(file.read().strip())
    return names


def _live(run: Callable[[], None], parent: int) -> NoReturn:
    """The child's life. It never returns into the parent's stack, whose context managers are not its own to leave."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in WATCHED:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.setsid()  # Ctrl-C in the terminal is for the supervisor, which ends its children in order
        tether.tie(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        run()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:  # the last frame of a process: everything is reported here
        if message := refusal.explain(error):
            print(message, file=sys.stderr)
            code = refusal.REFUSED
        else:
            traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Between the fork and the child's own handlers, a signal for the child would be written to the parent's inbox."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
