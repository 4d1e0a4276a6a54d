"""The versions of the catalog: each publish keeps its text under its version, a line of history, and swaps the file
whole. Whoever publishes names the version they knew; if another is there by then, they are refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import time
from typing import TYPE_CHECKING

import msgspec
import pydantic

from features.documents import DocumentError
from service.catalog import kept, reading, sources
from service.catalog.kept import Publication as Publication
from service.catalog.kept import document_path, find_aliases, holds_buckets, known, open_version
from service.catalog.kept import history as history
from service.catalog.schema import Catalog
from service.experiments import storing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from features.home import Home

BY_HAND = "the file was changed"
"""The comment of a version that nobody published."""
ANY = "*"
"""As the expected version: whichever there is."""


class ConflictError(ValueError):
    """Another version is there than the one that was expected; `current` names it."""

    def __init__(self, current: str) -> None:
        super().__init__(f"the catalog is at version {current or 'none'} meanwhile")
        self.current = current


class UnknownVersionError(ValueError):
    """There never was such a version, or only before versions were kept."""


class Checked(msgspec.Struct, frozen=True):
    """A text that was found good, so that other processes need not check it again."""

    version: str
    catalog: msgspec.Raw


def read(home: Home) -> tuple[Catalog, str]:
    """The live catalog and its version: at once if it was published, else checked. Raises DocumentError."""
    text = sources.read_text(home.catalog)
    with contextlib.suppress(OSError, msgspec.MsgspecError, pydantic.ValidationError):
        checked = msgspec.json.decode(_checked(home, text).read_bytes(), type=Checked)
        catalog = Catalog.model_validate_json(bytes(checked.catalog))
        if all(one.allocation.kind != "thompson" for one in catalog.experiments):
            return catalog, checked.version
        carried = storing.carry(known(home).before, catalog)
        if carried is catalog:
            return catalog, checked.version
    catalog, version = reading.parse(str(home.catalog), text, known(home))
    kept.require_models(home, catalog, version, text)
    if holds_buckets(catalog):  # every process that reads the changed file shall have the same ones
        with contextlib.suppress(OSError):
            _keep(home, catalog, version, text)
    return catalog, version


def publish(home: Home, text: str, author: str, comment: str, expected: str, name: str = "catalog") -> Publication:
    """Check a text and put it in the catalog's place. Raises DocumentError (of `name`) or ConflictError.

    `expected` is the version that is there, empty for none, ANY for whichever.
    """
    document = sources.parse(name, text)
    reading.examine(document)  # what is wrong with it whatever is there, others need not wait for
    aliases = find_aliases(home)
    with kept.lock(home):
        current = _current(home)
        if expected not in (ANY, current) and current not in kept.moved_since(home, expected):
            raise ConflictError(current)
        _note_live(home)
        catalog, version = reading.check(document, known(home, aliases))
        return _go_live(home, catalog, version, text, author, comment, current)


def restore(home: Home, version: str, author: str, comment: str) -> Publication:
    """Put a version of the history live again, as it was: its units go back to where they were.

    Nothing forbids that, so that whatever goes wrong can be undone. Raises UnknownVersionError or DocumentError.
    """
    text = text_of(home, version)
    with kept.lock(home):
        current = _current(home)
        _note_live(home)
        catalog, found = open_text(home, _full(home, version), text)
        carried = storing.carry(open_version(home, current), catalog)
        found = found if carried is catalog else reading.version(carried)
        return _go_live(home, carried, found, text, author, comment, current)


def move(home: Home, change: Callable[[Catalog], Catalog], comment: str) -> Publication | None:
    """Put the live catalog with other stored weights in its own place, under the same text; None if nothing changes.

    Whoever edits the text is not in conflict with that. Raises DocumentError.
    """
    with kept.lock(home):
        text = sources.read_text(home.catalog)
        catalog, current = read(home)
        changed = change(catalog)
        if changed == catalog or sources.read_text(home.catalog) != text:
            return None
        _note_live(home)
        return _go_live(home, changed, reading.version(changed), text, kept.MOVER, comment, current)


def open_text(home: Home, version: str, text: str) -> tuple[Catalog, str]:
    """The catalog of a version's text as it was live, with all buckets, and its version. Raises DocumentError."""
    found = open_version(home, version)
    return reading.parse(version, text) if found is None else (found, version)


def _go_live(
    home: Home, catalog: Catalog, version: str, text: str, author: str, comment: str, current: str
) -> Publication:
    _keep(home, catalog, version, text)
    _replace(home.catalog, text.encode())
    return _note(home, version, author, comment, current)


def note(home: Home, version: str) -> Publication:
    """The publication of a version that was found live: written now if it came by another way."""
    with kept.lock(home):
        found = _note_live(home)
        if found is not None and found.version == version:
            return found
        return Publication(version=version, time=time.time_ns() // 1000)  # replaced meanwhile: the next one tells


def text_of(home: Home, version: str) -> str:
    """The text of a version; the beginning of its name is enough. Raises UnknownVersionError."""
    full = _full(home, version)
    try:
        return (home.catalogs / f"{full}.yaml").read_text()
    except FileNotFoundError as error:
        raise UnknownVersionError(f"the text of version {full} is not kept in {home.catalogs}") from error


def _full(home: Home, version: str) -> str:
    """The version that begins so."""
    named = {one.version for one in history(home) if version and one.version.startswith(version)}
    if len(named) != 1:
        what = "is no version in the history" if not named else f"may be {' or '.join(sorted(named))}"
        raise UnknownVersionError(f"{version!r} {what}; `kairos catalog history` lists them")
    return named.pop()


def _current(home: Home) -> str:
    """The live version: of the file, or the last one that went live if the file is broken; empty without any."""
    try:
        return read(home)[1]
    except DocumentError:
        published = history(home)
        return published[-1].version if published else ""


def _note_live(home: Home) -> Publication | None:
    """Keep what is live, however it came: its text may stand nowhere else. None if there is none, or a broken one."""
    try:
        catalog, version = read(home)
        text = sources.read_text(home.catalog)
    except DocumentError:
        return None
    if not _checked(home, text).exists():
        _keep(home, catalog, version, text)
    return _note(home, version, "", BY_HAND, None)


def _note(home: Home, version: str, author: str, comment: str, previous: str | None) -> Publication:
    published = history(home)
    last = published[-1] if published else None
    if last is not None and last.version == version:
        return last
    if previous is None:
        previous = "" if last is None else last.version
    entry = Publication(version=version, time=time.time_ns() // 1000, author=author, comment=comment, previous=previous)
    with (home.catalogs / "history.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(entry) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return entry


def _keep(home: Home, catalog: Catalog, version: str, text: str) -> None:
    said = catalog.model_dump_json(exclude_defaults=True, by_alias=True).encode()
    _replace(home.catalogs / f"{version}.yaml", text.encode())
    if holds_buckets(catalog):
        _replace(document_path(home, version), said)
    _replace(_checked(home, text), msgspec.json.encode(Checked(version, msgspec.Raw(said))))


def _checked(home: Home, text: str) -> Path:
    """Where it is kept that a text is good, by this program: another may have other rules."""
    said = f"{importlib.metadata.version('kairos')}\n{text}"
    return home.catalogs / "checked" / f"{hashlib.blake2b(said.encode(), digest_size=12).hexdigest()}.json"


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
