"""Which version an alias names: promoted where its gates held, rolled back to the one before, or none any more. All or
nothing.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from models import bundle, moves, ramped, registry
from training import faults
from training.versions.listing import Version, VersionError, find

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from features.settings import Settings

RAMP_TAG = "kairos.ramp"
"""Of an MLflow version: what its last ramp came to."""


def promote(
    settings: Settings, name: str, wanted: str, alias: str, *, force: bool = False, reason: str = ""
) -> Version:
    """Point the alias at a version; it, as it is then.

    Raises VersionError where a gate did not hold when it was trained and `force` is False, and BundleError for one
    that cannot be served at all.
    """
    bundles = settings.home.bundles
    version = find(bundles, name, wanted)
    number = version.description.version
    if alias in version.aliases:
        raise VersionError(f"{alias} is version {number} of {name} already")
    if version.failing and not force:
        told = "; ".join(f"{gate} ({version.description.gates[gate]['figure']})" for gate in version.failing)
        raise VersionError(f"version {number} of {name} did not pass: {told}; --force promotes it all the same")
    if version.failing:
        reason = f"forced past {', '.join(version.failing)}" + (f": {reason}" if reason else "")
    _point(settings, name, alias, number, "promoted", reason)
    return find(bundles, name, number)


def roll_back(settings: Settings, name: str, alias: str, reason: str = "") -> tuple[str, Version]:
    """Point the alias at the version that it named before; (what it named until now, what it names).

    Raises VersionError if there is none, BundleError if that one's files are broken.
    """
    bundles = settings.home.bundles
    now = bundle.read_aliases(bundles, name).get(alias)
    if now is None:
        raise VersionError(f"{alias} names no version of {name!r}")
    before = moves.find_previous(moves.read_moves(bundles, name), alias)
    if before is None:
        raise VersionError(
            f"{alias} of {name!r} has named no version before {now}: kairos models promote names another"
        )
    find(bundles, name, before)
    _point(settings, name, alias, before, "rolled back", reason)
    return now, find(bundles, name, before)


def withdraw(settings: Settings, name: str, alias: str, reason: str = "") -> str:
    """Let an alias name nothing; the version that it named. What serves by it serves the next lower rung then.

    Raises VersionError if it names nothing, or is the champion's.
    """
    bundles = settings.home.bundles
    version = bundle.read_aliases(bundles, name).get(alias)
    if version is None:
        raise VersionError(f"{alias} names no version of {name!r}")
    if alias == bundle.CHAMPION:
        raise VersionError("without a champion there is no model: kairos models rollback goes back to another")
    faults.require_reachable(settings)
    with faults.told(settings):
        client = registry.connect(settings)
        client.delete_registered_model_alias(name, alias)
        written: int | None = None
        try:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            move = moves.Move(time=now, alias=alias, version="", before=version, action="withdrawn", reason=reason)
            written = moves.append(bundles, name, move)
            bundle.write_alias(bundles, name, alias, None)
        except BaseException:
            if written is not None:
                moves.cut(bundles, name, written)
            with suppress(Exception):  # the failure that led here is the one to tell
                client.set_registered_model_alias(name, alias, version)
            raise
        _tell_ramp(client, settings, name, version)
    return version


def _point(settings: Settings, name: str, alias: str, version: str, action: moves.Action, reason: str) -> None:
    bundle.load(settings.home.bundles / name / version)  # a broken one serves nobody
    faults.require_reachable(settings)
    with faults.told(settings):
        client = registry.connect(settings)
        registry.point(client, settings.home.bundles, name, alias, version, action, reason)
        _tell_ramp(client, settings, name, version)


def _tell_ramp(client: MlflowClient, settings: Settings, name: str, version: str) -> None:
    """What the version's last ramp came to, with its figures, as a tag of MLflow's version."""
    if ramps := ramped.read_ramps(settings.home.bundles, name, version):
        client.set_model_version_tag(name, version, RAMP_TAG, msgspec.json.encode(ramps[-1]).decode())
