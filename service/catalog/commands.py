"""The verbs of the catalog. Their imports are light: what they need is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

if TYPE_CHECKING:
    from features.settings import Settings
    from service.catalog.effects import Effect
    from service.catalog.schema import Catalog
    from service.catalog.versions import Publication

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
PathArgument = Annotated[Path, Parameter(help="A YAML or JSON file, or a folder of them.")]
CommentOption = Annotated[str, Parameter(help="Why, for the history.")]
AuthorOption = Annotated[str | None, Parameter(help="Who, for the history; else your login name.")]
HOUR = 3_600_000_000

catalog = App(name="catalog", help="Check, plan, publish and roll back the catalog.")


@catalog.command
def check(
    path: Annotated[Path | None, Parameter(help="A file or a folder; else the live one.")] = None,
    *,
    home: HomeOption = None,
) -> None:
    """Say everything that is wrong with a catalog, with file and line.

    Exit code 1 if anything is.
    """
    from features.documents import DocumentError
    from service.catalog import kept, reading

    where = _settings(home).home
    path = path or where.catalog
    aliases = kept.find_aliases(where) if where.bundles.is_dir() else None
    try:
        found, version = reading.read(path, kept.known(where, aliases))
    except DocumentError as error:
        for problem in error.problems:
            print(problem)
        count = "1 problem" if len(error.problems) == 1 else f"{len(error.problems):,} problems"
        print(f"{path} has {count}")
        raise SystemExit(1) from None
    print(f"{path} is good: version {version}, {_count(found)}")


@catalog.command
def plan(
    path: PathArgument,
    *,
    hours: Annotated[
        float, Parameter(help="How far back logged decisions are chosen again.", validator=validators.Number(gte=0))
    ] = 24.0,
    most: Annotated[
        int, Parameter(help="At most so many of them, the newest.", validator=validators.Number(gte=0))
    ] = 2000,
    home: HomeOption = None,
) -> None:
    """Show what a catalog would change, without publishing it.

    The differences to what is live, and what they would have done: the decisions of the last day are chosen again
    under both catalogs, with the customers as they were then, and the model and the candidates' features as they are
    now. Winners that change are counted by placement; the value is the expected one, propensity x value.
    """
    from rich.console import Console

    from service.catalog import differences, kept, plan, reading, versions

    settings = _settings(home)
    before, live = versions.read(settings.home)
    after, version = reading.read(path, kept.known(settings.home, kept.find_aliases(settings.home)))
    changes = differences.compare(before, after)
    effects, note = _weigh(settings, after, version, hours, most) if changes else ([], "")
    Console().print(plan.render(live, version, changes, effects, note))


@catalog.command
def publish(
    path: PathArgument, *, comment: CommentOption = "", author: AuthorOption = None, home: HomeOption = None
) -> None:
    """Put a catalog live, in all running processes within a second.

    A folder is put together into one file. Nothing is published if anything is wrong.
    """
    from service.catalog import reading, sources, versions

    document, text = sources.open_document(path)
    if text is None:
        text = _write(reading.examine(document), path)
    done = versions.publish(_settings(home).home, text, _author(author), comment, versions.ANY, str(path))
    _tell(done)


@catalog.command
def history(*, home: HomeOption = None) -> None:
    """List the versions that went live, the newest first."""
    from rich.console import Console
    from rich.table import Table

    from service.catalog import versions

    published = versions.history(_settings(home).home)
    if not published:
        print("No version is kept yet: they are from the first publish on, or when a worker finds a changed file.")
        return
    table = Table()
    for heading in ("version", "live since", "by", "comment"):
        table.add_column(heading, no_wrap=heading != "comment")
    for one in reversed(published):
        since = datetime.fromtimestamp(one.time / 1e6, UTC).isoformat(sep=" ", timespec="seconds")
        table.add_row(one.version, since, one.author, one.comment)
    Console().print(table)


@catalog.command
def rollback(
    version: Annotated[str, Parameter(help="A version of the history, or the beginning of its name.")],
    *,
    comment: CommentOption = "",
    author: AuthorOption = None,
    home: HomeOption = None,
) -> None:
    """Put a version of the history live again. It is a new line in the history; nothing is lost."""
    from service.catalog import versions

    done = versions.restore(_settings(home).home, version, _author(author), comment or f"back to {version}")
    _tell(done)


@catalog.command
def schema() -> None:
    """Print the JSON Schema of the catalog, for editors.

    Keep it beside the catalog (kairos catalog schema > catalog.schema.json) and begin the catalog with the line
    "# yaml-language-server: $schema=catalog.schema.json".
    """
    import json

    from service.catalog.schema import Catalog

    described: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    print(json.dumps(described | Catalog.model_json_schema(by_alias=True), indent=2))


def _weigh(settings: "Settings", after: "Catalog", version: str, hours: float, most: int) -> "tuple[list[Effect], str]":
    """Effects on logged decisions, and what to say of them."""
    from features import embedded
    from service.catalog import effects
    from service.catalog.compiled import compile_catalog
    from service.decisions import replaying

    since = time.time_ns() // 1000 - int(hours * HOUR)
    if not most:
        return [], "No logged decision was chosen again, as was asked for: the effect is not known."
    logged = replaying.load_logged(settings.home, since, most)
    decisions = [one for one in logged if replaying.is_replayable(one)]
    if not decisions:
        return [], f"No decision was logged in the last {hours:g} hours, so the effect is not known."
    from rich.progress import track

    with embedded.reach(settings) as url:
        weighed = effects.weigh(
            settings,
            url,
            compile_catalog(after, version),
            decisions,
            lambda all_of_them: track(list(all_of_them), "choosing again", transient=True),
        )
    note = f"{len(decisions):,} logged decisions of the last {hours:g} hours chosen again under both"
    left = f"; {len(logged) - len(decisions):,} of another layout left out" if len(decisions) < len(logged) else ""
    return weighed, f"{note}{left}:"


def _write(found: "Catalog", path: Path) -> str:
    import yaml

    said = found.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"defaults"})
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=120)
    return f"# Put together from {path.name}.\n{text}"


def _tell(done: "Publication") -> None:
    print(f"version {done.version} is live" + (f", after {done.previous}" if done.previous else ""))


def _count(found: "Catalog") -> str:
    return f"{len(found.candidates):,} candidates in {len(found.placements):,} placements"


def _author(named: str | None) -> str:
    import getpass

    if named is not None:
        return named
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in many containers
        return ""


def _settings(home: Path | None) -> "Settings":
    from features.settings import load

    return load(os.environ, home)
