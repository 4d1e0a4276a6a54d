"""The verbs of the features: import, replay, env. Their imports are light: what they need is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from features.settings import Settings

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
PathsOption = Annotated[
    list[Path], Parameter(help="CSV, JSON lines (also gzipped) or Parquet files, or folders of them.", negative=())
]
MappingOption = Annotated[Path, Parameter(help="What the columns mean, in YAML; see the folder examples.")]
ShiftOption = Annotated[
    bool, Parameter(help="Move all times by whole weeks, so that the newest is of the last seven days.", negative=())
]

MICROSECONDS = 1_000_000


def import_(
    paths: PathsOption, /, *, mapping: MappingOption, home: HomeOption = None, shift_to_now: ShiftOption = False
) -> None:
    """Bring in files of events or orders.

    Rows become events in the archive, items become the catalog's candidates, and all features are rebuilt. What is
    rejected is written to a file, with reasons. Importing the same rows again changes nothing.
    """
    from features import embedded, history
    from features.imports import importing, report
    from features.imports import mapping as mappings

    settings = _settings(home)
    mappings.read(mapping)  # what is wrong with it is said before anything is started
    with embedded.reach(settings) as redis_url, report.follow() as follow:
        began = time.monotonic()
        now = int(time.time() * MICROSECONDS)
        summary = importing.import_files(settings.home, paths, mapping, now, shift_to_now, follow)
        seconds = time.monotonic() - began
        replayed = None
        if summary.is_new or not history.is_current(settings.home):
            from features import replay as rebuilding

            replayed = rebuilding.replay(settings, redis_url, lambda done, of: follow("features", done, of))
    report.show_import(settings.home, summary, seconds, replayed)


def replay(*, home: HomeOption = None) -> None:
    """Rebuild all features from the archive.

    The historical table and the online store are made anew; a running `kairos up` goes on with the result.
    """
    from features import embedded
    from features import replay as rebuilding
    from features.imports import report

    settings = _settings(home)
    with embedded.reach(settings) as redis_url, report.follow() as follow:
        replayed = rebuilding.replay(settings, redis_url, lambda done, of: follow("features", done, of))
    report.show_replay(settings.home, replayed)


def env(*, home: HomeOption = None) -> None:
    """Print the variables that point other programs at this home.

    For Feast's own command line: eval "$(kairos env)", then feast -c features feature-views list.
    """
    from features import embedded
    from features.occupancy import UnavailableError
    from features.redis_urls import connection_string

    settings = _settings(home)
    variables = {"KAIROS_HOME": str(settings.home.root), "KAIROS_FEAST_REGISTRY": str(settings.home.registry)}
    redis_url = embedded.running(settings)
    if redis_url is not None:
        variables["KAIROS_FEAST_REDIS"] = connection_string(redis_url)
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    if redis_url is None:
        raise UnavailableError(
            "no Redis runs for this home, so KAIROS_FEAST_REDIS is missing: start `kairos up` or set KAIROS_REDIS_URL, "
            "then print the variables again"
        )


def _settings(home: Path | None) -> "Settings":
    from features.settings import load

    return load(os.environ, home)
