"""The catalog's file as what writes it sees it: whether somebody has edited it, and replacing it only if nobody has."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from features.home import Home

SEAL = "# Written by Kairos, which replaces it at an import for as long as nobody has changed it: "


def seal(text: str) -> str:
    """The document under a line by which any change to it shows."""
    return f"{SEAL}{_digest(text)}\n{text}"


def is_untouched(text: str) -> bool:
    first, _, rest = text.partition("\n")
    return first.startswith(SEAL) and first.removeprefix(SEAL).strip() == _digest(rest)


def write(home: Home, text: str, beside: str) -> Path:
    """Put a sealed document in the catalog's place; into the file `beside` it when the catalog is the user's own.

    Returns the file written. A file that says the same already keeps its time of change.
    """
    path = home.catalog
    if path.exists() and not is_untouched(path.read_text(errors="replace")):
        path = path.with_name(beside)
    sealed = seal(text)
    if not path.exists() or path.read_text(errors="replace") != sealed:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(sealed)
        temporary.replace(path)
    return path


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
