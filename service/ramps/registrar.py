"""What a ramp asks of the registry, which the service does not import: `kairos models` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from models import bundle
from models.bundle import CHAMPION
from service.ramps.publishing import CHALLENGER
from service.ramps.state import RampError

if TYPE_CHECKING:
    from features.home import Home
    from models.bundle import Description
    from service.ramps.state import Ramp


def resolve(home: Home, name: str, wanted: str) -> Description:
    """A version by its number or an alias of it. Raises RampError if there is none, BundleError if it cannot serve."""
    aliases = bundle.read_aliases(home.bundles, name)
    version = aliases.get(wanted, wanted)
    if not (home.bundles / name / version).is_dir():
        named = ", ".join(f"{alias} is {number}" for alias, number in sorted(aliases.items())) or "nothing"
        hint = "kairos train --alias challenger makes one" if wanted == CHALLENGER else "kairos models list tells them"
        raise RampError(f"there is no {wanted!r} of {name!r} ({named}): {hint}")
    return bundle.load(home.bundles / name / version).description


def point(home: Home, ramp: Ramp, alias: str, reason: str) -> None:
    """Let an alias name the ramp's version; nothing is done if it does."""
    if bundle.read_aliases(home.bundles, ramp.name).get(alias) == ramp.version:
        return
    forced = ["--force"] if ramp.forced else []
    _run(home, "promote", ramp.version, "--alias", alias, "--name", ramp.name, "--reason", reason, *forced)


def withdraw(home: Home, ramp: Ramp, reason: str) -> None:
    """Let the challenger's alias name nothing; one that names another version by now stays."""
    if bundle.read_aliases(home.bundles, ramp.name).get(CHALLENGER) == ramp.version:
        _run(home, "withdraw", CHALLENGER, "--name", ramp.name, "--reason", reason)


def stands(home: Home, ramp: Ramp) -> str:
    """Why the ramp's figures are no longer of what they should be of; empty if they are."""
    aliases = bundle.read_aliases(home.bundles, ramp.name)
    for alias, version in ((CHAMPION, ramp.champion), (CHALLENGER, ramp.version)):
        if aliases.get(alias) != version:
            return f"{alias} names {aliases.get(alias, 'nothing')} instead of {version} meanwhile"
    return ""


def _run(home: Home, *arguments: str) -> None:
    """Raises RampError with what the process said last."""
    command = [sys.executable, "-m", "kairos", "models", *arguments, "--home", str(home.root)]
    # In a session of its own, so that Ctrl-C does not cut a promotion in two.
    done = subprocess.run(  # noqa: S603  # our own command
        command,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        start_new_session=True,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RampError(f"`kairos models {arguments[0]}` failed: {said[-1] if said else done.returncode}")
