"""The verbs of events: rejected, retry. Their imports are light: what they need is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter, validators

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from features.settings import Settings
    from service.events.resending import Entry

HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
ReasonOption = Annotated[
    str | None, Parameter(help="Only those whose field or reason has these words in it, in any case.")
]
LimitOption = Annotated[
    int | None,
    Parameter(
        help="How many are shown one by one, newest first; else 20, as JSON all.", validator=validators.Number(gte=0)
    ),
]
JsonOption = Annotated[bool, Parameter(name="--json", help="JSON lines with whole payloads, no tables.", negative=())]
SHOWN = 20

events = App(name="events", help="List the events that were not taken, and send them again.")


@events.command
def rejected(
    *, reason: ReasonOption = None, limit: LimitOption = None, json: JsonOption = False, home: HomeOption = None
) -> None:
    """List the events that were not taken, by reason.

    They wait in the dead letters of the running `kairos up` of the home, or of the Redis that KAIROS_REDIS_URL names.
    """
    from rich.console import Console

    from service.events import terminal

    with _connect(_settings(home)) as redis:
        entries = list(_select(redis, reason, newest_first=True))
    if json:
        for entry in entries[:limit]:
            print(terminal.as_json(entry))
    else:
        Console().print(terminal.render(entries, SHOWN if limit is None else limit))


@events.command
def retry(*, reason: ReasonOption = None, home: HomeOption = None) -> None:
    """Send the events that were not taken again, as of when they came.

    For after what was wrong is put right. Those that are taken now leave the dead letters; the others stay.
    """
    from rich.console import Console

    from service.catalog import reading
    from service.catalog.compiled import compile_catalog
    from service.events import resending, terminal

    settings = _settings(home)
    catalog = settings.home.catalog
    compiled = compile_catalog(*reading.read(catalog)) if catalog.exists() else None
    with _connect(settings) as redis:
        entries = list(_select(redis, reason))
        resent = resending.resend(redis, entries, compiled, settings.partitions, settings.dead_letters, time.time())
    Console().print(terminal.render_resent(resent) if entries else terminal.NONE)


def _select(redis: "Redis", reason: str | None, newest_first: bool = False) -> "Iterator[Entry]":
    from features import dead_letters
    from service.events.resending import describe

    for entry, letter in dead_letters.scan(redis, newest_first):
        if reason is None or reason.casefold() in describe(letter.field, letter.reason).casefold():
            yield entry, letter


def _connect(settings: "Settings") -> "Redis":
    """Raises UnavailableError where no Redis runs: this command starts none, as nobody would take the events."""
    from features import embedded
    from features.connection import connect
    from features.occupancy import UnavailableError

    if embedded.running(settings) is None:
        raise UnavailableError(
            f"no Redis runs for the home {settings.home.root}: start `kairos up` there, choose another home with "
            "--home, or set KAIROS_REDIS_URL"
        )
    with embedded.reach(settings) as url:  # waits where it is being started again
        return connect(url)


def _settings(home: Path | None) -> "Settings":
    from features.settings import load

    return load(os.environ, home)
