"""The verbs about logged decisions. Their imports are light: what they need is imported when they run."""

# No `from __future__ import annotations`: the command line reads the annotations.
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter, validators

if TYPE_CHECKING:
    from features.events.schema import Decision
    from features.settings import Settings
    from models.bundle import Bundle
    from service.catalog.compiled import Compiled
    from service.decisions.evidence import Evidence
    from service.decisions.verification import Verdict

Step = TypeVar("Step")
HomeOption = Annotated[Path | None, Parameter(help="The data folder; else KAIROS_HOME, else .kairos here.")]
SinceOption = Annotated[str, Parameter(help="How far back, as 1d, 36h or 90m.")]
CatalogOption = Annotated[Path | None, Parameter(name="--with", help="Another catalog: a file or a folder.")]
ModelOption = Annotated[str | None, Parameter(help="Another model: its alias, or NAME@ALIAS, or NAME/VERSION.")]
MostOption = Annotated[
    int, Parameter(help="At most so many decisions, the newest.", validator=validators.Number(gte=1))
]
SHOWN = 20
"""Differences, and decisions that differ, that are told one by one."""


def replay_decision(id: str, /, *, home: HomeOption = None) -> None:  # noqa: A002  # the name that a user sees
    """Make a logged decision again, and say whether it is the same to the bit.

    With the catalog, the model, the customer's state and the candidates' features of its time. Exit code 1 if anything
    differs.
    """
    from features import embedded
    from features.connection import connect
    from service.decisions import evidence, lookup, verification

    settings = _settings(home)
    with contextlib.ExitStack() as held:
        with embedded.reach(settings) as url:
            with connect(url) as redis:
                logged = lookup.find(redis, settings.partitions, settings.home.archive, id)
            if logged is None:
                raise evidence.MissingError(f"there is no decision {id!r}, neither in the streams nor in the archive")
            with _progress("rebuilding history") as follow:
                held.enter_context(evidence.bring_up(settings, url, follow))
        [verdict] = verification.verify(evidence.Evidence(settings.home), [logged])
    if verdict.missing:
        raise evidence.MissingError(verdict.missing)
    _tell(verdict)
    raise SystemExit(bool(verdict.deviations))


def replay_decisions(
    *,
    since: SinceOption = "1d",
    with_: CatalogOption = None,
    model: ModelOption = None,
    most: MostOption = 10_000,
    home: HomeOption = None,
) -> None:
    """Make logged decisions again: as they were, or by another catalog or model.

    With neither, each is checked to be the same to the bit, with exit code 1 if one is not. With another catalog or
    model, over customers and candidates as they were then, it tells in which placements how many winners change, for
    how many customers, and the expected value: propensity x value, as the model in question expects it.
    """
    from features import embedded
    from service.catalog import reading
    from service.catalog.compiled import compile_catalog
    from service.decisions import evidence, replaying

    settings = _settings(home)
    planned = None if with_ is None else compile_catalog(*reading.read(with_))
    kept = evidence.Evidence(settings.home)
    bundle = None if model is None else kept.named(model)
    earliest = time.time_ns() // 1000 - _microseconds(since)
    is_same = True
    with contextlib.ExitStack() as held:
        with embedded.reach(settings) as url, _progress("rebuilding history") as follow:
            held.enter_context(evidence.bring_up(settings, url, follow))
        decisions = replaying.load_logged(settings.home, earliest, most)
        if not decisions:
            print(f"No decision was logged in the last {since}.")
        elif planned is None and bundle is None:
            is_same = _verify(kept, decisions)
        else:
            _weigh(kept, decisions, planned, bundle)
    if len(decisions) == most:
        print(f"These are the newest {most:,}: --most takes more.")
    raise SystemExit(not is_same)


def _verify(kept: "Evidence", decisions: "list[Decision]") -> bool:
    """Whether all that could be made again are the same."""
    from service.decisions import verification

    verdicts = list(_track(verification.verify(kept, decisions), len(decisions)))
    missing = [verdict.missing for verdict in verdicts if verdict.missing]
    deviant = [verdict for verdict in verdicts if verdict.deviations]
    for verdict in deviant[:SHOWN]:
        _tell(verdict)
    same = len(decisions) - len(missing) - len(deviant)
    print(f"{same:,} of {len(decisions):,} decisions are the same to the bit, {len(deviant):,} differ")
    _tell_missing(Counter(missing))
    return not deviant


def _weigh(kept: "Evidence", decisions: "list[Decision]", planned: "Compiled | None", bundle: "Bundle | None") -> None:
    from rich.console import Console

    from service.decisions import outcomes

    weighing = outcomes.Weighing(kept, planned, bundle)
    for _ in _track(weighing.weigh(decisions), len(decisions)):
        pass
    by = [] if planned is None else [f"catalog {planned.version}"]
    by += [] if bundle is None else [f"model {bundle.label}"]
    print(f"{len(decisions) - sum(weighing.missing.values()):,} logged decisions made again by {' and '.join(by)}:")
    Console().print(outcomes.tabulate(weighing.outcomes.values()))
    _tell_missing(Counter(weighing.missing))


def _tell(verdict: "Verdict") -> None:
    logged = verdict.logged
    models = sorted({slot.model for slot in logged.placements if slot.model})
    said = f"catalog {logged.catalog_version}, snapshot {logged.snapshot}, {', '.join(models) or 'no model'}"
    when = datetime.fromtimestamp(logged.time / 1e6, UTC).isoformat(sep=" ", timespec="milliseconds")
    print(f"decision {logged.decision_id} of {when}, rung {logged.rung}, {said}")
    for one in verdict.deviations[:SHOWN]:
        print(f"  {one.where}: logged {one.logged!r}, made again {one.again!r}")
    if len(verdict.deviations) > SHOWN:
        print(f"  and {len(verdict.deviations) - SHOWN:,} more differences")
    if not verdict.deviations:
        print("  made again, it is the same to the bit")


def _tell_missing(missing: "Counter[str]") -> None:
    for why, count in missing.most_common(SHOWN):
        print(f"{count:,} could not be made again: {why}")


def _track(steps: "Iterator[Step]", total: int) -> "Iterator[Step]":
    from rich.console import Console
    from rich.progress import track

    return iter(track(steps, "making decisions again", total, console=Console(stderr=True), transient=True))


@contextlib.contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that appears when it is told of something."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, visible=False)
        yield lambda done, of: bar.update(task, completed=done, total=of, visible=True)


def _microseconds(duration: str) -> int:
    from service.catalog.parts import parse_duration
    from service.decisions.evidence import MissingError

    try:
        return int(parse_duration(duration).total_seconds() * 1e6)
    except ValueError as error:
        raise MissingError(f"--since: {error}") from None


def _settings(home: Path | None) -> "Settings":
    from features.settings import load

    return load(os.environ, home)
