"""Which versions of the catalog went live, and what each said; a home that has lost that has it from the archive."""

from __future__ import annotations

import contextlib
import os
import zlib
from typing import TYPE_CHECKING

import msgspec
import yaml

from features import archive
from features.events.schema import CatalogPublished, decode
from service.catalog.schema import Catalog
from service.experiments import storing

if TYPE_CHECKING:
    from pathlib import Path

    from features.home import Home


HISTORY = "history.jsonl"


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
    """All publications, the oldest first; where none are kept, as the archive has them, which are kept then."""
    path = home.catalogs / HISTORY
    if not path.exists():
        _rebuild(home, path)
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(msgspec.MsgspecError):  # cut short by a full disk or a crash
            found.append(msgspec.json.decode(line, type=Publication))
    return found


def has_history(home: Home) -> bool:
    """Whether one is kept, so that it need not be looked for in the archive."""
    return (home.catalogs / HISTORY).exists()


def document_path(home: Home, version: str) -> Path:
    """Where a version is kept as it was checked, with the buckets of its experiments."""
    return home.catalogs / f"{version}.json"


def holds_buckets(catalog: Catalog) -> bool:
    """Whether the catalog is more than its text: experiments have begun, and their buckets are stored."""
    return any(experiment.status != "draft" for experiment in catalog.experiments)


def _rebuild(home: Home, path: Path) -> None:
    """Versions that this program cannot read any more are in the history, without their documents."""
    events = _published(home)
    if not events:
        return
    home.catalogs.mkdir(parents=True, exist_ok=True)
    previous, lines = "", []
    for event in events:
        told = Publication(
            version=event.version, time=event.time, author=event.author, comment=event.comment, previous=previous
        )
        lines.append(msgspec.json.encode(told) + b"\n")
        previous = event.version
        with contextlib.suppress(ValueError, zlib.error):
            _keep(home, event)
    with contextlib.suppress(FileExistsError):  # somebody was faster, and may have published since
        _put(path, b"".join(lines))


def _published(home: Home) -> list[CatalogPublished]:
    payloads = archive.read(home.archive, ["payload"], types=["catalog"])["payload"].to_pylist()
    return [event for payload in payloads if isinstance(event := decode(payload), CatalogPublished)]


def _keep(home: Home, event: CatalogPublished) -> None:
    """The document, and a text that says it: in other words than were written, but of the same version."""
    said = zlib.decompress(event.document)
    catalog = Catalog.model_validate_json(said)
    bare = storing.strip(catalog).model_dump(mode="json", exclude_defaults=True, by_alias=True)
    text = yaml.safe_dump(bare, sort_keys=False, allow_unicode=True, width=120)
    with contextlib.suppress(FileExistsError):
        _put(home.catalogs / f"{event.version}.yaml", text.encode())
    if holds_buckets(catalog):
        with contextlib.suppress(FileExistsError):
            _put(document_path(home, event.version), said)


def _put(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, at once as a whole. Raises FileExistsError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.old")
    temporary.write_bytes(content)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
