"""From the catalog file to a checked document: shape first, then what refers to what."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from features.documents import Document, DocumentError
from service.catalog.schema import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from features.documents import Place


def parse(name: str, text: str) -> tuple[Catalog, str]:
    """The catalog and its version. Raises DocumentError with every problem at its place."""
    document = Document(name, text)
    catalog = document.validate(Catalog)
    problems = [document.problem(place, message) for place, message in _contradictions(catalog)]
    if problems:
        raise DocumentError(name, problems)
    return catalog, version(catalog)


def read(path: Path) -> tuple[Catalog, str]:
    """As `parse`, of a file. Raises DocumentError also if it cannot be read."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(path), [f"{path}: {error}"]) from error
    return parse(str(path), text)


def version(catalog: Catalog) -> str:
    """A digest of what the document says, not of how it is written."""
    return hashlib.blake2b(catalog.model_dump_json().encode(), digest_size=6).hexdigest()


def _contradictions(catalog: Catalog) -> Iterator[tuple[Place, str]]:
    known = {candidate.id for candidate in catalog.candidates}
    placements = {placement.id for placement in catalog.placements}
    yield from _repeated("candidates", [candidate.id for candidate in catalog.candidates])
    yield from _repeated("placements", [placement.id for placement in catalog.placements])
    yield from _repeated("experiments", [experiment.id for experiment in catalog.experiments])
    for at, placement in enumerate(catalog.placements):
        if placement.default not in known:
            yield ("placements", at, "default"), f"there is no candidate {placement.default!r}"
        for position, candidate in enumerate(placement.candidates or []):
            if candidate not in known:
                yield ("placements", at, "candidates", position), f"there is no candidate {candidate!r}"
    for at, experiment in enumerate(catalog.experiments):
        yield from _repeated(("experiments", at, "variants"), [variant.id for variant in experiment.variants])
        for position, placed in enumerate(experiment.placements or []):
            if placed not in placements:
                yield ("experiments", at, "placements", position), f"there is no placement {placed!r}"


def _repeated(where: str | Place, ids: list[str]) -> Iterator[tuple[Place, str]]:
    seen: set[str] = set()
    base = (where,) if isinstance(where, str) else where
    for at, text in enumerate(ids):
        if text in seen:
            yield (*base, at, "id"), f"{text!r} stands here a second time"
        seen.add(text)
