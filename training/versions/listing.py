"""The versions of a model as their bundles describe them, with the aliases that name them. MLflow is not asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from models.bundle import Description, read_aliases, read_descriptions
from models.moves import Move, read_moves

if TYPE_CHECKING:
    from pathlib import Path


class VersionError(ValueError):
    """A version that is not there, or that must not be moved; the message says what there is."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    description: Description
    aliases: tuple[str, ...]

    @property
    def failing(self) -> list[str]:
        """The gates that did not hold when it was trained."""
        return [name for name, verdict in self.description.gates.items() if verdict.get("holds") is False]

    @property
    def is_judged(self) -> bool:
        return bool(self.description.gates)


def list_versions(bundles: Path, name: str | None = None) -> list[Version]:
    """Of all models, or of one: by name, the newest version first."""
    found = [it for it in read_descriptions(bundles) if name in (None, it.name)]
    aliases = {each: read_aliases(bundles, each) for each in {it.name for it in found}}
    return [
        Version(
            description=it,
            aliases=tuple(alias for alias, version in sorted(aliases[it.name].items()) if version == it.version),
        )
        for it in sorted(found, key=lambda it: (it.name, -_number(it.version), it.version))
    ]


def find(bundles: Path, name: str, wanted: str) -> Version:
    """A version by its number or by an alias. Raises VersionError."""
    versions = list_versions(bundles, name)
    for version in versions:
        if wanted == version.description.version or wanted in version.aliases:
            return version
    there = ", ".join(it.description.version for it in versions) or "none: train one (kairos train)"
    raise VersionError(f"no version {wanted!r} of {name!r}; there are: {there}")


def list_moves(bundles: Path, name: str, alias: str | None = None) -> list[Move]:
    """How aliases moved, the newest first."""
    return [move for move in reversed(read_moves(bundles, name)) if alias in (None, move.alias)]


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
