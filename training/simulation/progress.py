"""The progress bar of the demo's long acts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Task


class Speed(ProgressColumn):
    """Steps per second since the start."""

    def render(self, task: Task) -> Text:
        speed = task.completed / task.elapsed if task.elapsed else 0.0
        return Text(f"{speed:.0f}/s", style="progress.data.speed")


@contextlib.contextmanager
def bar(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar of `total` steps; yields what advances it by one."""
    columns = (TextColumn("    " + what), BarColumn(None), MofNCompleteColumn(), Speed(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
