"""The verbs of the archive. Light: what they need is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]

archive = App(name="archive", help="Look after the event archive.")


@archive.command
def compact(*, home: HomeOption = None) -> None:
    """Merge small files: past days into one file a partition, today's when there are many.

    A running worker does so by itself, every minute. Whoever reads meanwhile sees each event once.
    """
    from features import archive as events
    from features.settings import load

    settings = load(os.environ, home)
    done = events.compact(settings.home.archive, int(time.time() * 1e6))
    left = len(events.files(settings.home.archive))
    print(f"merged {done.before:,} files into {done.after:,}; the archive has {left:,}")
