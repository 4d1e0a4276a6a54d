"""What the home keeps of catalogs that were live, and what a new one is checked against: the one before, the models."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from service.catalog.reading import Known
from service.catalog.schema import Catalog

if TYPE_CHECKING:
    from pathlib import Path

    from features.home import Home


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """A version that went live."""

    version: str
    time: int
    """Microseconds since the epoch."""
    author: str = ""
    comment: str = ""
    previous: str = ""
    """The version before; empty for the first."""


def history(home: Home) -> list[Publication]:
    """All publications, the oldest first."""
    try:
        lines = (home.catalogs / "history.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(msgspec.MsgspecError):  # cut short by a full disk or a crash
            found.append(msgspec.json.decode(line, type=Publication))
    return found


def document_path(home: Home, version: str) -> Path:
    """Where a version is kept as it was checked, with the buckets of its experiments."""
    return home.catalogs / f"{version}.json"


def holds_buckets(catalog: Catalog) -> bool:
    """Whether the catalog is more than its text: experiments have begun, and their buckets are stored."""
    return any(experiment.status != "draft" for experiment in catalog.experiments)


def open_version(home: Home, version: str) -> Catalog | None:
    """A version as it was live; None if only its text is kept, or nothing."""
    try:
        return Catalog.model_validate_json(document_path(home, version).read_bytes())
    except (OSError, ValueError):  # never kept, or by a program that knows another document
        return None


def known(home: Home, aliases: frozenset[str] | None = None) -> Known:
    """What a document is checked against that is to go live now."""
    published = history(home)
    before = open_version(home, published[-1].version) if published else None
    return Known(before=before, now=time.time_ns() // 1000, aliases=aliases)


def find_aliases(home: Home) -> frozenset[str]:
    """The aliases that a placement or a variant may name as its model: as a running service finds them."""
    from models.bundle import DEFAULT_NAME, BundleError, read_aliases  # it brings LightGBM, which takes a while

    folder = home.bundles
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    found: set[str] = set()
    for name in names:
        with contextlib.suppress(BundleError):
            aliases = read_aliases(folder, name)
            found |= {f"{name}@{alias}" for alias in aliases}
            if name == DEFAULT_NAME or len(names) == 1:
                found |= set(aliases)
    return frozenset(found)
