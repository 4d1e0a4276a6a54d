"""When the weights of each experiment were looked at last, in a file of the home: restarts change nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from features.home import Home


def noted(home: Home) -> dict[str, int]:
    """Experiment -> when its weights were looked at last, in microseconds."""
    try:
        return msgspec.json.decode(_path(home).read_bytes(), type=dict[str, int])
    except (OSError, msgspec.MsgspecError):
        return {}


def note(home: Home, times: dict[str, int]) -> None:
    """Keep when weights were looked at."""
    path = _path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(noted(home) | times))
    temporary.replace(path)


def _path(home: Home) -> Path:
    return home.root / "experiments" / "allocated.json"
