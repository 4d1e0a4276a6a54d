"""What the home folder holds: catalog, model, archive, history, what waits to be appended, and room for more."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pyarrow as pa

from features import archive, history
from features.documents import DocumentError
from models.bundle import CHAMPION, DEFAULT_NAME, BundleError, load, read_aliases
from service.catalog import versions
from service.doctor.findings import Finding, amount, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from features.home import Home

LITTLE, TOO_LITTLE = 2 << 30, 256 << 20
"""Bytes free on the disk."""
OPENED = 200
"""Archive files whose footers are read: the latest, and as many of the others, evenly."""
OLD_SECONDS = 7 * 86_400.0
STUCK_SECONDS = 60.0
"""A spilled decision waits for the next second in which Redis answers."""


def looks(home: Home, now: float) -> dict[str, Callable[[], Iterable[Finding]]]:
    """By the name of what is looked at; `now` in seconds since the epoch."""
    return {
        "catalog": lambda: [_catalog(home)],
        "model": lambda: [_model(home, now)],
        "archive": lambda: [_archive(home)],
        "history": lambda: [_history(home, now)],
        "spilled decisions": lambda: [_spilled(home, now)],
        "disk": lambda: [_disk(home)],
    }


def _catalog(home: Home) -> Finding:
    if not home.catalog.exists():
        return Finding(
            check="catalog", verdict="warning", found=f"none at {home.catalog}", advice="`kairos up` writes a first one"
        )
    try:
        catalog, version = versions.read(home)
    except DocumentError as error:
        return Finding(
            check="catalog",
            verdict="problem",
            found=str(error),
            advice="put it right: a running service keeps the last good one, a new start refuses",
        )
    found = f"version {version}: {len(catalog.candidates):,} candidates, {len(catalog.placements)} placements"
    return Finding(check="catalog", verdict="ok", found=found, figures={"version": version})


def _model(home: Home, now: float) -> Finding:
    names = sorted(path.name for path in home.bundles.iterdir() if path.is_dir()) if home.bundles.is_dir() else []
    name = DEFAULT_NAME if DEFAULT_NAME in names or len(names) != 1 else names[0]
    try:
        version = read_aliases(home.bundles, name).get(CHAMPION)
        if version is None:
            return Finding(
                check="model",
                verdict="warning",
                found="no champion: decisions are made by popularity",
                advice="`kairos train`, once there are orders or exposures",
            )
        bundle = load(home.bundles / name / version)
    except BundleError as error:
        return Finding(
            check="model",
            verdict="problem",
            found=str(error),
            advice="train again with this version of Kairos, or point the alias at a version that loads",
        )
    age = max(now - (home.bundles / name / version / "bundle.json").stat().st_mtime, 0.0)
    features = len(bundle.description.signature.features)
    return Finding(
        check="model",
        verdict="ok",
        found=f"champion {bundle.label}, {duration(age)} old, all {features} features can be filled",
        figures={"model": bundle.label, "age_seconds": age, "features": features},
    )


def _archive(home: Home) -> Finding:
    files = archive.files(home.archive)
    if not files:
        return Finding(check="archive", verdict="ok", found="empty")
    size, broken, events = 0, [], 0
    opened = {*files[:: max(len(files) // OPENED, 1)], *files[-OPENED:]}
    for file in files:
        size += file.size
        try:
            if file in opened:
                events += archive.count(home.archive, file)
        except FileNotFoundError:  # merged with others meanwhile
            continue
        except (OSError, pa.ArrowException) as error:
            broken.append(f"{file.name}: {error}")
    figures = {"files": len(files), "bytes": size, "opened": len(opened), "broken": broken}
    if broken:
        return Finding(
            check="archive",
            verdict="problem",
            found=f"{len(broken)} of {len(opened)} files cannot be read: {broken[0]}",
            advice="restore them from a backup: training and replay need every file",
            figures=figures,
        )
    of = f"{events:,} events" if len(opened) == len(files) else f"{events:,} events in {len(opened)} of them"
    found = f"{len(files):,} file{'s' * (len(files) > 1)}, {amount(size)}, {of}"
    return Finding(check="archive", verdict="ok", found=found, figures=figures | {"events": events})


def _history(home: Home, now: float) -> Finding:
    digest = home.history / "digest"
    if not digest.exists():
        return Finding(check="history", verdict="ok", found="none yet: the first training makes it")
    if history.is_current(home):
        return Finding(check="history", verdict="ok", found="holds all that is archived", figures={"current": True})
    age = max(now - digest.stat().st_mtime, 0.0)
    return Finding(
        check="history",
        verdict="warning" if age > OLD_SECONDS else "ok",
        found=f"made {duration(age)} ago, before the latest events or declarations",
        advice="the next `kairos train` brings it up to date",
        figures={"current": False, "age_seconds": age},
    )


def _spilled(home: Home, now: float) -> Finding:
    sizes, oldest = 0, now
    for path in home.spill.glob("*.jsonl"):
        try:
            status = path.stat()
        except FileNotFoundError:  # appended meanwhile
            continue
        sizes += status.st_size
        oldest = min(oldest, status.st_mtime) if status.st_size else oldest
    if not sizes:
        return Finding(check="spilled decisions", verdict="ok", found="none")
    return Finding(
        check="spilled decisions",
        verdict="problem" if now - oldest > STUCK_SECONDS else "warning",
        found=f"{amount(sizes)} wait on disk since {duration(max(now - oldest, 0.0))}",
        advice="they are appended when Redis answers; start an API on this home if none runs",
        figures={"bytes": sizes},
    )


def _disk(home: Home) -> Finding:
    there = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    return Finding(
        check="disk",
        verdict="problem" if free < TOO_LITTLE else "warning" if free < LITTLE else "ok",
        found=f"{amount(free)} free",
        advice="make room: Redis' file, the archive and the history grow with the events" if free < LITTLE else "",
        figures={"free": free},
    )
