"""The verbs of the features: import, replay, env, features. Light: what they need is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators

if TYPE_CHECKING:
    from features.aggregates.declared import Aggregate
    from features.settings import Settings

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
PathsOption = Annotated[
    list[Path], Parameter(help="CSV, JSON lines (also gzipped) or Parquet files, or folders of them.", negative=())
]
MappingOption = Annotated[Path, Parameter(help="What the columns mean, in YAML; see the folder examples.")]
ShiftOption = Annotated[
    bool, Parameter(help="Move all times by whole weeks, so that the newest is of the last seven days.", negative=())
]

WholeOption = Annotated[
    bool, Parameter(help="Begin with the first event, whatever an earlier replay has left.", negative=())
]
NamesOption = Annotated[list[str] | None, Parameter(help="Declared features; else all.", negative=())]
KindOption = Annotated[str | None, Parameter(help="Declare another one for this check, of this kind.")]
EventsOption = Annotated[
    list[str] | None, Parameter(name=["--event"], help="The events that it takes in; may be repeated.", negative=())
]
TriesOption = Annotated[list[str] | None, Parameter(name=["--try"], help="A rate's second group.", negative=())]
EntityOption = Annotated[Literal["customer", "candidate", "successors"], Parameter(help="Whom it describes.")]
ValueOption = Annotated[
    Literal["one", "items", "revenue", "candidate", "category"], Parameter(help="What an event adds.")
]
KeyOption = Annotated[Literal["candidate", "category"] | None, Parameter(help="What it is keyed by.")]
SubjectOption = Annotated[str | None, Parameter(help="Its word for the events; else made of the first.")]
DurationOption = Annotated[str | None, Parameter(help="As 3d, 36h, 90m or 30s.")]
MostOption = Annotated[
    int, Parameter(help="The newest events of the archive; 0 for all.", validator=validators.Number(gte=0))
]
InstantsOption = Annotated[int, Parameter(help="How often to compare.", validator=validators.Number(gte=1, lte=100))]

MICROSECONDS = 1_000_000

features = App(name="features", help="List the features, and check one before it is added.")


def import_(
    paths: PathsOption, /, *, mapping: MappingOption, home: HomeOption = None, shift_to_now: ShiftOption = False
) -> None:
    """Bring in files of events or orders.

    Rows become events in the archive, items become the catalog's candidates, and all features are rebuilt. What is
    rejected is written to a file, with reasons. Importing the same rows again changes nothing.
    """
    from features import embedded
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
        from features import replay as rebuilding

        if summary.is_new or not rebuilding.is_current(settings, redis_url):
            replayed = rebuilding.replay(settings, redis_url, lambda done, of: follow("features", done, of))
    report.show_import(settings.home, summary, seconds, replayed)


def replay(*, home: HomeOption = None, whole: WholeOption = False) -> None:
    """Rebuild the online features from the archive.

    The states of the last replay are kept, and where only little has come since, this one goes on from them.

    A running `kairos up` serves on from the present ones meanwhile; the new ones take their place at once when they
    hold everything that came until then. `kairos train` brings the history that it joins up to date by itself.
    """
    from features import embedded
    from features import replay as rebuilding
    from features.imports import report

    settings = _settings(home)
    with embedded.reach(settings) as redis_url, report.follow() as follow:
        replayed = rebuilding.replay(settings, redis_url, lambda done, of: follow("features", done, of), whole)
    report.show_replay(replayed)


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


@features.command(name="list")
def list_() -> None:
    """List every feature: its view, kind, parameters, and what it is keyed by."""
    from features import listing
    from features.aggregates.derived import DERIVED

    listing.show_features(DERIVED)


@features.command
def check(
    names: NamesOption = None,
    /,
    *,
    kind: KindOption = None,
    event: EventsOption = None,
    try_: TriesOption = None,
    entity: EntityOption = "customer",
    subject: SubjectOption = None,
    value: ValueOption = "one",
    key: KeyOption = None,
    half_life: DurationOption = None,
    length: DurationOption = None,
    hop: DurationOption = None,
    bound: int | None = None,
    prior: float | None = None,
    strength: float | None = None,
    most: MostOption = 50_000,
    instants: InstantsOption = 4,
    home: HomeOption = None,
) -> None:
    """Compare features live and backfilled, on your own events: declared ones, or one that you describe.

    The archive's newest events go through a deployment of their own, worker and online store; then its history is
    rebuilt and joined as training joins it. What runs is not touched. Exit code 1 when something differs.

    For example: kairos features check --kind decayed --half-life 3d --event "Product Viewed"
    """
    from features import declaring
    from features.aggregates.declared import extend

    added: Aggregate | None = None
    if kind is not None:
        words = declaring.Words(
            kind=kind,
            events=event or [],
            tries=try_ or [],
            entity=entity,
            subject=subject,
            value=value,
            key=key,
            half_life=half_life,
            length=length,
            hop=hop,
            bound=bound,
            prior=prior,
            strength=strength,
        )
        added = declaring.declare(words)
        extend(added)  # before anything makes the layouts
    aggregates = [added] if added is not None and not names else declaring.find(names or [])
    _check(aggregates, _settings(home), most, instants)
    if added is not None:
        print(f"To add it, put this line into features/aggregates/declared.py:\n    {declaring.write(added)}")


def _check(aggregates: "list[Aggregate]", settings: "Settings", most: int, instants: int) -> None:
    import tempfile

    from features import additions, listing
    from features.home import Home

    with tempfile.TemporaryDirectory(prefix="kairos-check-") as folder, listing.follow() as follow:
        report = additions.check(settings.home, Home(Path(folder)), aggregates, most, instants, follow)
    if not listing.show_check(report):
        raise SystemExit(1)


def _settings(home: Path | None) -> "Settings":
    from features.settings import load

    return load(os.environ, home)
