"""The catalog's files as one document: a file, or a folder of files whose lists are put together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from features.documents import Document, DocumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from features.documents import Place

SUFFIXES = (".yaml", ".yml", ".json")
SCHEMA = ".schema.json"
"""For editors; it may stand beside the catalog."""


class Together(Document):
    """Several documents as one: lists go one after another, anything else stands in one of them."""

    def __init__(self, name: str, parts: Sequence[Document]) -> None:
        """Raises DocumentError with what stands in more than one."""
        self.name = name
        self.content = {}
        self._parts = parts
        self._owners: dict[str, Document] = {}
        self._entries: dict[str, list[tuple[Document, int]]] = {}
        problems = []
        for part in parts:
            for key, value in part.content.items():
                if isinstance(value, list) and isinstance(self.content.setdefault(key, []), list):
                    self.content[key] += value
                    self._entries.setdefault(key, []).extend((part, at) for at in range(len(value)))
                elif key in self.content:
                    problems.append(part.problem((key,), f"it stands in {self._owners[key].name}, too"))
                else:
                    self.content[key] = value
                self._owners.setdefault(key, part)
        if problems:
            raise DocumentError(name, problems)

    def find(self, place: Place) -> tuple[str, int, int]:
        """As that of the document from which the place comes."""
        key = str(place[0]) if place else ""
        entries = self._entries.get(key)
        if entries and len(place) > 1 and isinstance(place[1], int) and place[1] < len(entries):
            part, position = entries[place[1]]
            return part.find((key, position, *place[2:]))
        return self._owners.get(key, self._parts[0]).find(place)


def read_text(path: Path) -> str:
    """Raises DocumentError if there is no text to be read."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(path), [f"{path}: {error}"]) from error


def open_document(path: Path) -> tuple[Document, str | None]:
    """(the document, its text) of a file, or of a folder, which has no one text. Raises DocumentError."""
    if not path.is_dir():
        text = read_text(path)
        return parse(str(path), text), text
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and not file.name.endswith(SCHEMA))
    if not files:
        raise DocumentError(str(path), [f"{path}: there is no {' or '.join(SUFFIXES)} file here"])
    parts: list[Document] = []
    problems: list[str] = []
    for file in files:
        try:
            parts.append(parse(str(file), read_text(file)))
        except DocumentError as error:
            problems += error.problems
    if problems:
        raise DocumentError(str(path), problems)
    return Together(str(path), parts), None


def parse(name: str, text: str) -> Document:
    """A document in YAML or JSON. Raises DocumentError."""
    if text.lstrip().startswith("{"):
        try:
            content: Any = json.loads(text)
        except (ValueError, RecursionError):
            return Document(name, text)
        # YAML knows neither tabs between values nor halves of characters; lines stay where that is possible.
        as_written = "\\u" not in text
        text = text.replace("\t", " ") if as_written else json.dumps(content, ensure_ascii=False, indent=1)
    return Document(name, text)
