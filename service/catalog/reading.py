"""From the catalog's files to a checked document: shape first, then what the shape cannot tell."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic

from features.documents import Document, DocumentError, faults
from service.catalog import contradictions, sources
from service.catalog.salvage import Shadow, salvage
from service.catalog.schema import Catalog, Defaults
from service.experiments import editing, storing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from features.documents import Place


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a document is checked against beside itself."""

    before: Catalog | None = None
    """The catalog that it takes the place of."""
    now: int = 0
    """Microseconds since the epoch: which experiments of that have begun."""
    aliases: frozenset[str] | None = None
    """The models that there are; None: nobody knows."""


NOTHING = Known()


def parse(name: str, text: str, known: Known = NOTHING) -> tuple[Catalog, str]:
    """The catalog and its version. Raises DocumentError with every problem at its place."""
    return check(sources.parse(name, text), known)


def read(path: Path, known: Known = NOTHING) -> tuple[Catalog, str]:
    """As `parse`, of a file or a folder of files. Raises DocumentError also if it cannot be read."""
    return check(sources.open_document(path)[0], known)


def check(document: Document, known: Known = NOTHING) -> tuple[Catalog, str]:
    """The catalog that a document says, with the buckets of its experiments, and its version. Raises DocumentError."""
    catalog = storing.store(known.before, examine(document, known))
    return catalog, version(catalog)


def examine(document: Document, known: Known = NOTHING) -> Catalog:
    """The catalog that a document says, and no more. Raises DocumentError."""
    content = _with_defaults(document.content)
    try:
        catalog, found = Catalog.model_validate(content), []
    except pydantic.ValidationError as error:
        found = list(faults(error))
        left = _left(content, found)
        if left is None:
            raise _refusal(document, found) from error
        catalog = left
    shadow = Shadow(place for place, _ in found)
    found += [one for one in _contradictions(catalog, known) if not shadow.covers(one[0])]
    if found:
        raise _refusal(document, found)
    return catalog


def _left(content: dict[str, Any], found: list[tuple[Place, str]]) -> Catalog | None:
    """What stands beside the faults; None if that is no catalog."""
    try:
        return Catalog.model_validate(salvage(content, [place for place, _ in found]))
    except pydantic.ValidationError:
        return None


def _contradictions(catalog: Catalog, known: Known) -> Iterator[tuple[Place, str]]:
    yield from contradictions.find(catalog, known.aliases)
    if known.before is not None:
        yield from editing.find(known.before, catalog, known.now)


def _refusal(document: Document, found: list[tuple[Place, str]]) -> DocumentError:
    """In the order of the document."""
    found.sort(key=lambda one: document.find(one[0]))
    return DocumentError(document.name, [document.problem(place, message) for place, message in found])


def version(catalog: Catalog) -> str:
    """A digest of what the document says, not of how it is written: `defaults` stand in what they hold for, and buckets
    count where they are not those that a first publish gives.
    """
    bare = storing.strip(catalog)
    if storing.store(None, bare).experiments == catalog.experiments:
        catalog = bare
    said = catalog.model_dump_json(exclude_defaults=True, by_alias=True, exclude={"defaults"})
    return hashlib.blake2b(said.encode(), digest_size=6).hexdigest()


def _with_defaults(content: dict[str, Any]) -> dict[str, Any]:
    """The content with what `defaults` says in every entry that does not say it; as it is when they are wrong."""
    try:
        shared = Defaults.model_validate(content.get("defaults", {}))
    except pydantic.ValidationError:
        return content
    merged = dict(content)
    for name, part in (("placements", shared.placement), ("candidates", shared.candidate)):
        said = part.model_dump(exclude_none=True)
        if said and isinstance(content.get(name), list):
            merged[name] = [{**said, **one} if isinstance(one, dict) else one for one in content[name]]
    return merged
