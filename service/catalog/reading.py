"""From the catalog's files to a checked document: shape first, then what the shape cannot tell."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pydantic

from features.documents import Document, DocumentError
from service.catalog import contradictions, sources
from service.catalog.schema import Catalog, Defaults

if TYPE_CHECKING:
    from pathlib import Path


def parse(name: str, text: str) -> tuple[Catalog, str]:
    """The catalog and its version. Raises DocumentError with every problem at its place."""
    return check(sources.parse(name, text))


def read(path: Path) -> tuple[Catalog, str]:
    """As `parse`, of a file or a folder of files. Raises DocumentError also if it cannot be read."""
    return check(sources.open_document(path)[0])


def check(document: Document) -> tuple[Catalog, str]:
    """The catalog that a document says, and its version. Raises DocumentError."""
    catalog = document.validate(Catalog, _with_defaults(document.content))
    problems = [document.problem(place, message) for place, message in contradictions.find(catalog)]
    if problems:
        raise DocumentError(document.name, problems)
    return catalog, version(catalog)


def version(catalog: Catalog) -> str:
    """A digest of what the document says, not of how it is written: `defaults` stand in what they hold for."""
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
