"""A catalog for a home that has none yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from service.catalog import reading

if TYPE_CHECKING:
    from features.home import Home

STARTER = Path(__file__).with_name("starter.yaml")


def ensure(home: Home) -> None:
    """Write the starter catalog where there is none. Raises DocumentError if the one that is there is broken."""
    if not home.catalog.exists():
        home.root.mkdir(parents=True, exist_ok=True)
        home.catalog.write_text(STARTER.read_text())
    reading.read(home.catalog)
