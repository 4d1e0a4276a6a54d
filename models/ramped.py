"""What the ramps of a version came to: `<bundles>/<name>/<version>/ramps.json`, beside the bundle, the latest last.

Services do not read it; it is evidence for whoever looks at the version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from models.bundle import BundleError

if TYPE_CHECKING:
    from pathlib import Path

Outcome = Literal["promoted", "taken back"]


class Guarded(msgspec.Struct, frozen=True, kw_only=True):
    """One guardrail of one step: the challenger beside the champion."""

    name: str
    champion: float | None
    challenger: float | None
    low: float | None = None
    """Of how much worse or better the challenger is, its sequential interval; null while too little is known."""
    high: float | None = None
    state: Literal["holds", "worse", "unknown"] = "unknown"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One share of the traffic, and what was known at its end."""

    share: float
    since: str
    until: str
    units: int
    """Of the challenger, compared in this step."""
    beside: int
    """Of the champion."""
    guards: list[Guarded]


class Ramped(msgspec.Struct, frozen=True, kw_only=True):
    """A ramp that has ended."""

    experiment: str
    outcome: Outcome
    reason: str
    beside: str
    """The champion's version."""
    ended: str
    """ISO 8601 UTC."""
    steps: list[Step]


_decoder = msgspec.json.Decoder(list[Ramped])


def read_ramps(bundles: Path, name: str, version: str) -> list[Ramped]:
    """Of a version, the oldest first. Raises BundleError if the file is broken."""
    path = _path(bundles, name, version)
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path}: {error}") from error


def record_ramp(bundles: Path, name: str, version: str, ramped: Ramped) -> None:
    """Write a verdict down; one of the same experiment takes the place of the one that is there."""
    kept = [it for it in read_ramps(bundles, name, version) if it.experiment != ramped.experiment]
    path = _path(bundles, name, version)
    temporary = path.with_suffix(".new")
    try:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode([*kept, ramped])))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _path(bundles: Path, name: str, version: str) -> Path:
    return bundles / name / version / "ramps.json"
