"""What the home keeps of catalogs that were live, and what a new one is checked against: the one before, the models."""

from __future__ import annotations

import contextlib
import fcntl
import time
from typing import TYPE_CHECKING

from service.catalog import contradictions, reading
from service.catalog.publications import Publication as Publication
from service.catalog.publications import document_path as document_path
from service.catalog.publications import history as history
from service.catalog.publications import holds_buckets as holds_buckets
from service.catalog.reading import Known
from service.catalog.schema import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.home import Home


MOVER = "kairos: weights"
"""As the author of versions that differ from those before by weights that moved, and by no text."""


def moved_since(home: Home, version: str) -> set[str]:
    """The versions that followed another by moves of weights alone."""
    found: set[str] = set()
    for one in history(home):
        if one.author == MOVER and (one.previous == version or one.previous in found):
            found.add(one.version)
    return found


@contextlib.contextmanager
def lock(home: Home) -> Iterator[None]:
    """One process at a time changes the catalog."""
    home.catalogs.mkdir(parents=True, exist_ok=True)
    with (home.catalogs / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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


def require_models(home: Home, catalog: Catalog, version: str, text: str) -> None:
    """Raises DocumentError for a model that is not there, unless the version was live before: that may have gone."""
    named = contradictions.named_models(catalog)
    if named and version not in {one.version for one in history(home)}:
        aliases = find_aliases(home)
        if not named <= aliases:
            reading.parse(str(home.catalog), text, known(home, aliases))
